// Processes as /proc shows them. Everything the rig starts carries a mark in its environment, so that a child which was
// orphaned by a kill -9 of its parent is still found.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** The name of the environment variable that carries the mark. */
export const MARK = 'LAYBY_RIG_MARK';

export interface Proc {
  pid: number;
  ppid: number;
  /** What it is: `layby up`, `control-plane`, `queue`, `envoy`, or the name of its program. */
  name: string;
  argv: string[];
  /** In clock ticks since boot: with the pid it names a process for good. */
  started: number;
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // It ended, or was never there.
  }
};

const base = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The part of Layby that a command line stands for; the base name of the program where it is none. */
export const partOf = (argv: readonly string[]): string => {
  // A process that set its title has it as the whole command line: `layby queue`.
  const words = argv.length === 1 ? argv[0]!.trim().split(/\s+/) : argv;
  const program = base(words[0] ?? '');
  if (!/^(node|layby)/.test(program)) return program;
  const at = words.findIndex((word) => /^layby(\.[cm]?[jt]s)?$/.test(base(word)));
  const command = words[at + 1];
  if (at >= 0 && command !== undefined) return command === 'up' ? 'layby up' : command;
  const script = words.slice(1).find((word) => /\.[cm]?[jt]s$/.test(word));
  return script?.match(/(?:src|dist)\/([\w-]+)\//)?.[1] ?? program;
};

/** Alive means that it can still run: a zombie that waits for its parent is dead. */
export const isAlive = (pid: number): boolean => {
  const stat = read(`/proc/${pid}/stat`);
  if (!stat) return false;
  const state = stat.slice(stat.lastIndexOf(')') + 2)[0];
  return state !== 'Z' && state !== 'X';
};

const procOf = (pid: number): Proc | undefined => {
  const stat = read(`/proc/${pid}/stat`);
  if (!stat || !isAlive(pid)) return undefined;
  const [, ppid, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const argv = (read(`/proc/${pid}/cmdline`) ?? '').split('\0').filter((word) => word !== '');
  return { pid, ppid: Number(ppid), argv, name: partOf(argv), started: Number(rest[17]) };
};

const everyPid = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

const carries = (pid: number, mark: string): boolean =>
  `\0${read(`/proc/${pid}/environ`) ?? ''}`.includes(`\0${MARK}=${mark}\0`);

/** Tells which living processes carry the mark, descend from one that does, or did when it was asked before: a part may
 *  clean the environment of its child, and then leave it an orphan. Parents first, where pids did not wrap. */
export const familyOf = (mark: string): (() => Proc[]) => {
  const known = new Map<number, number>();
  return () => {
    const family = new Map<number, Proc>();
    const rest: Proc[] = [];
    for (const pid of everyPid()) {
      const proc = procOf(pid);
      if (!proc) continue;
      if (known.get(pid) === proc.started || carries(pid, mark)) family.set(pid, proc);
      else rest.push(proc);
    }
    for (let grew = true; grew; ) {
      grew = false;
      for (const proc of rest)
        if (!family.has(proc.pid) && family.has(proc.ppid)) {
          family.set(proc.pid, proc);
          grew = true;
        }
    }
    known.clear();
    for (const { pid, started } of family.values()) known.set(pid, started);
    return [...family.values()].sort((a, b) => a.pid - b.pid);
  };
};

/** SIGKILL, harmless where the process is gone. */
export const sigkill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
};

/** Resolves when none of them can run any more. Rejects after `timeout` ms: only an uninterruptible sleep outlives SIGKILL. */
export const gone = async (pids: readonly number[], timeout = 10_000): Promise<void> => {
  const deadline = performance.now() + timeout;
  for (;;) {
    const left = pids.filter(isAlive);
    if (left.length === 0) return;
    if (performance.now() > deadline) throw new Error(`still alive after ${timeout} ms: ${left.join(', ')}`);
    await sleep(2); // The kernel has no event for a process that is not our child.
  }
};

/** Anonymous memory of a process, bytes: LevelDB's mapped tables are not in it. */
export const rssAnon = (pid: number): number => {
  const kib = read(`/proc/${pid}/status`)?.match(/^RssAnon:\s+(\d+) kB/m)?.[1];
  if (kib === undefined) throw new Error(`no process ${pid}`);
  return Number(kib) * 1024;
};
