// A program that Layby runs beside itself: its output becomes log lines, its end an event, and it dies with Layby. Which program,
// and whether to start it again, is for the caller.

import { type ChildProcess, spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { answerOf, onPath } from './executable.ts';
import { lines } from './lines.ts';

/** From SIGTERM to SIGKILL, ms. */
const GRACE = 1000;

/** Last lines kept, to say why a child ended. */
const TAIL = 20;
const TAIL_BYTES = 8 * 1024;

export interface ChildOptions {
  /** The whole environment of the child: nothing of Layby's own is added. Default: Layby's. */
  env?: NodeJS.ProcessEnv;
  log: Logger;
  /** Holds the child's pid in decimal while it lives. */
  pidFile?: string;
  /** Each line of its stdout and stderr, after it is logged. */
  onLine?: (line: string) => void;
  /** Its output as it comes, which is then neither split into lines nor logged: for a part that writes log lines itself. */
  onOutput?: (output: Buffer) => void;
}

export interface ChildExit {
  /** null for a death by signal. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** What it said last, at most 20 lines, oldest first. */
  lastLines: string[];
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** The exit event; never rejects. Its output has been read by then, and the pid file is gone. */
  readonly exited: Promise<ChildExit>;
  /** SIGTERM, SIGKILL after 1 s; resolves when it is gone. */
  stop(): Promise<ChildExit>;
}

/** The path of a setpriv that knows `--pdeathsig`; busybox's does not. Once found it is kept; one that was not found, or did not answer in
 *  time, is looked for again at the next start of a child. */
let setpriv: Promise<string | undefined> | undefined;
const findSetpriv = async (): Promise<string | undefined> => {
  if (process.platform !== 'linux') return undefined;
  const path = await onPath('setpriv');
  if (!path) return undefined;
  const works = await answerOf(path, ['--pdeathsig', 'KILL', '--', 'true'], process.env);
  return works === undefined ? undefined : path;
};

/** Children alive, for the orderly end of a process on a machine without setpriv. */
const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

const started = (child: ChildProcess, name: string, cmd: string): Promise<number> =>
  new Promise((done, fail) => {
    child.once('spawn', () => done(child.pid!));
    child.once('error', (cause) =>
      fail(
        new LaybyError('LAYBY_CHILD_NOT_STARTED', `${name} could not be started: ${cause.message}`, {
          remedy: `try ${cmd} by hand`,
          cause,
        }),
      ),
    );
  });

/** Starts `cmd ARGS` as a child that the kernel kills when Layby dies, however it dies (Linux with util-linux; elsewhere only when
 *  Layby ends in order). The death that counts is that of the calling thread: call it from the main thread. The kernel
 *  forgets the arrangement if `cmd` is set-uid or has file capabilities (prctl(2), PR_SET_PDEATHSIG).
 *  Rejects with LAYBY_CHILD_NOT_STARTED. */
export const spawnChild = async (
  name: string,
  cmd: string,
  args: readonly string[],
  options: ChildOptions,
): Promise<Child> => {
  const { log } = options;
  const env = options.env ?? process.env;
  // setpriv would report a missing program as an exit of its own.
  const program = await onPath(cmd, env);
  if (!program) {
    throw new LaybyError(
      'LAYBY_CHILD_NOT_STARTED',
      `${name} could not be started: there is no program ${cmd}`,
      {
        remedy: 'install it, or give its path',
      },
    );
  }
  setpriv ??= findSetpriv();
  const guard = await setpriv;
  if (!guard) {
    setpriv = undefined;
    log.warn({ child: name }, 'no setpriv with --pdeathsig: the child outlives Layby if Layby is killed');
  }
  // setpriv replaces itself by the program, so the pid and the signal stay.
  const [file, argv] = guard
    ? [guard, ['--pdeathsig', 'KILL', '--', program, ...args]]
    : [program, [...args]];
  // In a group of its own: Ctrl-C on a terminal is for Layby, which ends its children in their order.
  const child = spawn(file, argv, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const tail: string[] = [];
  const take = (line: string): void => {
    log.debug({ child: name }, line);
    tail.push(line);
    if (tail.length > TAIL) tail.shift();
    options.onLine?.(line);
  };
  let last = Buffer.alloc(0);
  const { onOutput } = options;
  for (const stream of [child.stdout, child.stderr]) {
    if (!onOutput) {
      lines(stream, take);
      continue;
    }
    stream.on('data', (output: Buffer) => {
      onOutput(output);
      last = Buffer.concat([last, output]).subarray(-TAIL_BYTES);
    });
  }
  const { pidFile } = options;
  const closed = new Promise<ChildExit>((done) => {
    child.once('close', (code, signal) => {
      living.delete(child);
      const lastLines = onOutput ? last.toString().split('\n').filter(Boolean) : tail;
      done({ code, signal, lastLines: lastLines.slice(-TAIL) });
    });
  });
  child.once('exit', () => {
    // A grandchild may hold the pipes open for ever.
    const late = setTimeout(() => {
      child.stdout.destroy();
      child.stderr.destroy();
    }, GRACE);
    child.once('close', () => clearTimeout(late));
  });
  const pid = await started(child, name, program);
  living.add(child);
  if (pidFile) {
    await writeFile(pidFile, `${pid}\n`).catch(async (cause) => {
      child.kill('SIGKILL');
      await closed;
      throw new LaybyError(
        'LAYBY_CHILD_NOT_STARTED',
        `the pid of ${name} could not be written to ${pidFile}`,
        {
          remedy: 'make its directory writable',
          cause,
        },
      );
    });
  }
  const exited = closed.then(async (exit) => {
    if (pidFile) await rm(pidFile, { force: true }).catch(() => undefined);
    log.debug({ child: name, pid, code: exit.code, signal: exit.signal }, 'child exited');
    return exit;
  });
  log.debug({ child: name, pid }, 'child started');
  return {
    name,
    pid,
    exited,
    stop: async () => {
      child.kill('SIGTERM');
      const deadline = setTimeout(() => child.kill('SIGKILL'), GRACE);
      try {
        return await exited;
      } finally {
        clearTimeout(deadline);
      }
    },
  };
};
