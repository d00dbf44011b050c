// What a program did to one directory and what it said meanwhile, out of a trace by strace, as events in the order in which the
// kernel saw them. Needs the bytes of every write, so the trace is made with strings of any length. What a disk would have
// kept of it is for disk.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type Call, parseStrace, straceOf } from '../strace.ts';

interface When {
  /** Line of the trace where the call was entered, and where it had returned; Infinity: never. */
  entered: number;
  returned: number;
}

/** Paths are relative to the directory; '' is the directory itself. */
export type DiskCall = When &
  (
    | { kind: 'create' | 'mkdir' | 'sync'; path: string }
    | { kind: 'unlink' | 'rmdir'; path: string }
    | { kind: 'truncate'; path: string; size: number }
    | { kind: 'rename' | 'link'; path: string; to: string }
    /** Without `at` it goes to the end. */
    | { kind: 'write'; path: string; at: number | undefined; bytes: Buffer }
  );

/** A line that the program wrote to its stdout. */
export interface Said {
  /** Line of the trace where the write was entered. */
  entered: number;
  line: string;
}

export interface Recording {
  calls: DiskCall[];
  said: Said[];
  /** Lines of the trace. */
  lines: number;
}

const CALLS = [
  ...[
    'open',
    'openat',
    'creat',
    'write',
    'pwrite64',
    'writev',
    'pwritev',
    'ftruncate',
    'truncate',
    'fallocate',
  ],
  ...['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'rmdir', 'link', 'linkat'],
  ...['fsync', 'fdatasync', 'sync_file_range', 'msync', 'sync', 'syncfs', 'copy_file_range', 'sendfile'],
];
/** Longer than any write of the store. */
const STRINGS = 64 * 1024 * 1024;

/** Runs a command line under strace to its end, whichever way it ends. The trace is written to `out`. */
export const record = async (dir: string, command: string[], out: string): Promise<Recording> => {
  const [strace, ...args] = [...straceOf({ calls: CALLS, out, strings: STRINGS }), ...command];
  const child = spawn(strace!, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'exit');
  const lines = (await readFile(out, 'latin1')).split('\n');
  return { ...understand(dir, parseStrace(lines)), lines: lines.length };
};

const PLAIN: Record<string, number> = { n: 10, t: 9, v: 11, f: 12, r: 13 };
const BACKSLASH = 92;
const isOctal = (code: number): boolean => code >= 48 && code <= 55;

/** The bytes of a string as strace quotes it. By hand: a recording has tens of millions of escapes. */
const unquote = (quoted: string): Buffer => {
  const bytes = Buffer.allocUnsafe(quoted.length);
  let length = 0;
  for (let i = 0; i < quoted.length; i++) {
    const code = quoted.charCodeAt(i);
    if (code !== BACKSLASH) {
      bytes[length++] = code;
      continue;
    }
    const next = quoted.charCodeAt(++i);
    if (!isOctal(next)) {
      bytes[length++] = PLAIN[quoted[i]!] ?? next;
      continue;
    }
    let octal = next - 48;
    for (let digits = 1; digits < 3 && isOctal(quoted.charCodeAt(i + 1)); digits++)
      octal = octal * 8 + quoted.charCodeAt(++i) - 48;
    bytes[length++] = octal;
  }
  return Buffer.from(bytes.subarray(0, length));
};

/** What stands between the first quote and the last: a write has one string. */
const written = (args: string): Buffer => unquote(args.slice(args.indexOf('"') + 1, args.lastIndexOf('"')));

const QUOTED = /"((?:[^"\\]|\\.)*)"/g;
const DESCRIPTOR = /^\d+<([^>]*)>/;

const understand = (dir: string, calls: Call[]): Omit<Recording, 'lines'> => {
  const disk: DiskCall[] = [];
  const said: Said[] = [];
  const inside = (path: string | undefined): string | undefined =>
    path === dir ? '' : path?.startsWith(`${dir}/`) ? path.slice(dir.length + 1) : undefined;
  for (const call of calls) {
    const { name, args, entered, returned } = call;
    const writes = name === 'write' || name === 'pwrite64';
    if (writes && args.startsWith('1<')) {
      const text = written(args).toString();
      for (const line of text.split('\n')) if (line !== '') said.push({ entered, line });
      continue;
    }
    const opened = inside(DESCRIPTOR.exec(args)?.[1]);
    const paths = writes ? [] : [...args.matchAll(QUOTED)].map(([, path]) => unquote(path!).toString());
    const path = inside(paths[0]);
    const when = { entered, returned };
    const concerns = opened ?? path;
    if (concerns === undefined || call.error !== undefined) continue;
    if (/ \(deleted\)/.test(args.slice(0, 500))) continue;
    if (writes) {
      const bytes = written(args);
      const tail = args.slice(args.lastIndexOf('"'));
      const [asked, at] = [...tail.matchAll(/, (\d+)/g)].map(([, digits]) => Number(digits));
      if (bytes.length !== asked) throw new Error(`strace cut a write short: ${bytes.length} of ${asked}`);
      // A kill in the middle of a write leaves a part of it.
      const taken = bytes.subarray(0, call.result ?? bytes.length);
      disk.push({
        ...when,
        kind: 'write',
        path: concerns,
        at: name === 'write' ? undefined : at,
        bytes: taken,
      });
    } else if (name === 'fsync' || name === 'fdatasync') disk.push({ ...when, kind: 'sync', path: concerns });
    else if (/^(open|openat|creat)$/.test(name)) {
      if (args.includes('O_CREAT')) disk.push({ ...when, kind: 'create', path: path! });
      if (args.includes('O_TRUNC')) disk.push({ ...when, kind: 'truncate', path: path!, size: 0 });
    } else if (name === 'ftruncate' || name === 'truncate') {
      const size = Number(/, (\d+)$/.exec(args)![1]);
      disk.push({ ...when, kind: 'truncate', path: concerns, size });
    } else if (name.startsWith('rename') || name.startsWith('link')) {
      const kind = name.startsWith('link') ? 'link' : 'rename';
      disk.push({ ...when, kind, path: path!, to: inside(paths[1])! });
    } else if (name === 'rmdir' || (name === 'unlinkat' && args.includes('AT_REMOVEDIR')))
      disk.push({ ...when, kind: 'rmdir', path: path! });
    else if (name.startsWith('unlink')) disk.push({ ...when, kind: 'unlink', path: path! });
    else if (name.startsWith('mkdir')) disk.push({ ...when, kind: 'mkdir', path: path! });
    else throw new Error(`${name} on a file is not modelled: ${args.slice(0, 200)}`);
  }
  return { calls: disk, said };
};
