// Law 1, seen from the kernel: the receipt is written after the fdatasync of the last write to the log. Needs strace.

import { execFile, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';

const FIXTURE = new URL('fixtures/receipts.ts', import.meta.url).pathname;
const hasStrace = spawnSync('strace', ['-V']).status === 0;

interface Call {
  name: string;
  file: string;
  text: string;
  /** Line at which it began and at which it returned. */
  began: number;
  ended: number;
}

const parse = (trace: string): Call[] => {
  const calls: Call[] = [];
  const open = new Map<string, Call>();
  for (const [at, line] of trace.split('\n').entries()) {
    const pid = line.split(' ', 1)[0]!;
    const begun = /\b(write|pwrite64|fdatasync|fsync)\(\d+<([^>]*)>(.*)/.exec(line);
    if (begun) {
      const call = { name: begun[1]!, file: begun[2]!, text: begun[3]!, began: at, ended: at };
      calls.push(call);
      if (line.includes('<unfinished')) open.set(pid, call);
    } else if (line.includes('resumed>') && open.has(pid)) {
      open.get(pid)!.ended = at;
      open.delete(pid);
    }
  }
  return calls;
};

t.test(
  'a receipt is written after the fdatasync of every log write before it (strace)',
  { skip: hasStrace ? false : 'strace is not installed' },
  async (t) => {
    const dir = testdir(t);
    const trace = join(dir, 'trace');
    const args = ['-f', '-y', '-s', '60', '-e', 'trace=write,pwrite64,fdatasync,fsync', '-o', trace];
    await promisify(execFile)('strace', [...args, process.execPath, FIXTURE, join(dir, 'store')]);
    const calls = parse(await readFile(trace, 'utf8'));
    const receipts = calls.filter(({ text }) => text.includes('receipt '));
    t.equal(receipts.length, 5);
    const logs = calls.filter(({ file }) => /generations\/\d+\/\d+\.log$/.test(file));
    for (const [i, receipt] of receipts.entries()) {
      const since = receipts[i - 1]?.began ?? 0;
      const writes = logs.filter(({ name, ended }) => name === 'write' && ended < receipt.began);
      t.ok(
        writes.some(({ began }) => began > since),
        `receipt ${i}: its bytes were written before it`,
      );
      for (const write of new Map(writes.map((write) => [write.file, write])).values()) {
        const synced = logs.some(
          ({ name, file, began, ended }) =>
            name !== 'write' && file === write.file && began > write.ended && ended < receipt.began,
        );
        t.ok(synced, `receipt ${i}: the last write to ${write.file.slice(-20)} was synced before it`);
      }
    }
  },
);
