// System calls as they really happened, for proofs of order: was the fdatasync over before the receipt was written? Runs a
// command under strace and reads what strace wrote. What must come before what is for the tests.

import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';

/** For a test's `skip`: why nothing can be traced here, or false. */
export const noStrace: string | false =
  process.platform !== 'linux'
    ? 'tracing system calls needs Linux'
    : spawnSync('strace', ['-qq', '-e', 'trace=none', 'true']).status !== 0
      ? 'strace is absent or may not trace'
      : false;

export interface TraceOptions {
  /** Names of system calls. */
  calls: readonly string[];
  /** File that strace writes. */
  out: string;
  /** Bytes of each string argument that are kept; default 64. */
  strings?: number;
}

/** Put before a command line: runs it under strace with all its threads and children. Descriptors come with what they are,
 *  `7</data/000005.log>`. The rest of the program runs at full speed (seccomp stops only the named calls). */
export const straceOf = (options: TraceOptions): string[] => [
  ...['strace', '-f', '--seccomp-bpf', '-qq', '-ttt', '-yy', '-s', String(options.strings ?? 64)],
  ...['-e', `trace=${options.calls.join(',')}`, '-e', 'signal=none', '-o', options.out, '--'],
];

export interface Call {
  /** Thread. */
  pid: number;
  /** When it was made, seconds since the epoch. */
  at: number;
  name: string;
  /** As strace writes them, not taken apart. */
  args: string;
  /** undefined: it never returned. */
  result: number | undefined;
  /** `EAGAIN` and the like. */
  error: string | undefined;
  /** Line where it was entered, line where it had returned: a is before b when a.returned < b.entered. */
  entered: number;
  returned: number;
}

const ENTRY = /^(\d+)\s+(\d+\.\d+) ([a-z]\w*)\(/;
const RESUMED = /^(\d+)\s+\d+\.\d+ <\.\.\. (\w+) resumed>/;
const RESULT = /^(.*)\)\s+= (-?\d+|0x[0-9a-f]+|\?)(?:<.*>)?(?: (E[A-Z0-9]+))?.*$/;
const UNFINISHED = / <unfinished \.\.\.>$/;

interface Pending {
  call: Omit<Call, 'args' | 'result' | 'error' | 'returned'>;
  text: string;
}

const settle = ({ call, text }: Pending, line: number): Call => {
  const [, args = text, result = '?', error] = text.match(RESULT) ?? [];
  return { ...call, args, result: result === '?' ? undefined : Number(result), error, returned: line };
};

/** The calls in the order in which they were entered. Those that never returned have `returned` Infinity. */
export const parseStrace = (lines: Iterable<string>): Call[] => {
  const calls: Call[] = [];
  const pending = new Map<number, Pending>();
  let number = 0;
  for (const line of lines) {
    number++;
    const entry = line.match(ENTRY);
    if (entry) {
      const [head, pid, at, name = ''] = entry;
      const call = { pid: Number(pid), at: Number(at), name, entered: number };
      const text = line.slice(head.length);
      if (UNFINISHED.test(text)) pending.set(call.pid, { call, text: text.replace(UNFINISHED, '') });
      else calls.push(settle({ call, text }, number));
      continue;
    }
    const resumed = line.match(RESUMED);
    const waiting = resumed && pending.get(Number(resumed[1]));
    if (!resumed || !waiting) continue; // A signal, an exit, a line that a kill cut.
    pending.delete(waiting.call.pid);
    calls.push(settle({ call: waiting.call, text: waiting.text + line.slice(resumed[0].length) }, number));
  }
  for (const { call, text } of pending.values())
    calls.push({
      ...call,
      args: text,
      result: undefined,
      error: undefined,
      returned: Number.POSITIVE_INFINITY,
    });
  return calls.sort((a, b) => a.entered - b.entered);
};

/** The calls in a file that strace wrote. Complete once the traced command has ended. */
export const callsIn = async (file: string): Promise<Call[]> =>
  parseStrace((await readFile(file, 'utf8')).split('\n'));
