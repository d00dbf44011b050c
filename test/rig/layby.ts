// Starts the product as a user does, `layby up`, in the vehicle or on loopback, and looks at it from outside only: its
// command line, its admin listener, its log and /proc.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { curl } from './app.ts';
import { endsWithTheRig } from './lifetime.ts';
import type { Road } from './namespaces.ts';
import { freePort } from './ports.ts';
import { familyOf, gone, MARK, type Proc, rssAnon, sigkill } from './processes.ts';
import { run } from './run.ts';
import { untilEvent } from './until-event.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/layby.js', import.meta.url));

export type Part = 'layby up' | 'control-plane' | 'queue' | 'envoy';

export interface LaybyOptions {
  /** Without one: on loopback, ports that are free. */
  road?: Road;
  /** The policy's YAML; or `policyFiles`, which may name directories. Neither: the demo's. */
  policy?: string;
  policyFiles?: readonly string[];
  /** Data directory. */
  data: string;
  env?: Record<string, string>;
  extraArgs?: readonly string[];
  /** Ports of the two listeners; default 15001 and 15000 on a road. */
  outboundPort?: number;
  adminPort?: number;
  /** Put before the command line, for strace. */
  wrap?: readonly string[];
  /** Another program with the same command line. */
  program?: string;
  /** How long `layby: ready` may take, ms. */
  timeout?: number;
}

/** A line of `layby queue ls --json`. */
export interface QueueLine {
  id: string;
  destination: string;
  method: string;
  url: string;
  bytes: number;
  state: 'stored' | 'sending' | 'staged' | 'dead' | 'quarantined';
  receivedAt: number;
  attempts: number;
  lastError: string | null;
}

export interface Status {
  link: unknown;
  destinations: { name: string; hold: unknown; entries: number; bytes: number; oldest: unknown }[];
  sidecars: unknown[];
}

export interface Ending {
  /** null where a signal ended it. */
  code: number | null;
  /** From the signal to the end of the process, ms. */
  ms: number;
  /** What of it still ran when the main process had ended. */
  left: Proc[];
}

export interface Layby {
  /** HOST:PORT of the two listeners. */
  outbound: string;
  admin: string;
  /** stdout and stderr, line by line, since the start. */
  lines: readonly string[];
  /** Those lines that are JSON: the log. */
  log(): Record<string, unknown>[];
  /** The first line, old or new, for which `matches` is true. Rejects after `timeout` ms. */
  untilLine(matches: (line: string) => boolean, timeout?: number): Promise<string>;
  /** Everything of it that runs, orphans too. */
  pids(): Proc[];
  /** The one process of a part. Throws where there is none. */
  pidOf(part: Part): number;
  /** SIGKILL to one part, or to everything at once; resolves when dead. */
  kill9(part: Part | 'all'): Promise<void>;
  /** A signal to several parts at once; resolves when these processes have ended. */
  end(parts: readonly Part[], signal: NodeJS.Signals): Promise<void>;
  /** SIGINT to the main process. Resolves when it ended, after `timeout` ms by SIGKILL (code null). */
  stop(timeout?: number): Promise<Ending>;
  /** Resolves with the exit code when the main process ends by itself. */
  ended: Promise<number | null>;
  /** The CLI, in the vehicle, `--admin` added: its stdout. */
  cli(...args: string[]): Promise<string>;
  status(): Promise<Status>;
  queue(): Promise<QueueLine[]>;
  /** Asks until it is true of the queue. Rejects after `timeout` ms with what was in it. */
  untilQueue(enough: (lines: QueueLine[]) => boolean, timeout?: number): Promise<QueueLine[]>;
  /** Resolves with what the command printed. */
  link(state: 'up' | 'down' | 'auto', ...destinations: string[]): Promise<string>;
  /** Samples by `name{labels}`, as written. */
  metrics(): Promise<Map<string, number>>;
  /** GET of a path of the admin listener. */
  get(path: string): ReturnType<typeof curl>;
  /** Anonymous memory of a part, bytes. */
  rssAnon(part: Part): number;
}

const samplesIn = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const at = line.lastIndexOf('}') + 1 || line.indexOf(' ');
        return [line.slice(0, at), Number(line.slice(at).trim().split(' ')[0])];
      }),
  );

const policyArgs = async (options: LaybyOptions): Promise<string[]> => {
  const files = [...(options.policyFiles ?? [])];
  if (options.policy !== undefined) {
    await mkdir(options.data, { recursive: true });
    // Beside the data, not in it: what is in the data directory is the product's.
    const file = `${options.data.replace(/\/$/, '')}.policy.yaml`;
    await writeFile(file, options.policy);
    files.push(file);
  }
  return files.length > 0 ? ['--policy', ...files] : [];
};

const ready = async (
  child: ChildProcess,
  events: EventEmitter,
  lines: string[],
  timeout: number,
): Promise<void> => {
  const failed = (what: string) => new Error(`layby ${what} before it was ready:\n${lines.join('\n')}`);
  const signal = AbortSignal.timeout(timeout);
  await Promise.race([
    once(events, 'ready', { signal }).catch(() => {
      throw failed(`was silent for ${timeout} ms`);
    }),
    once(child, 'close').then(() => {
      throw failed(`ended with ${child.exitCode ?? child.signalCode}`);
    }),
  ]);
};

/** Resolves at `layby: ready`. Rejects with everything it said when it ends before, or after `timeout` ms (30,000). */
export const startLayby = async (options: LaybyOptions): Promise<Layby> => {
  const { road, program = PROGRAM } = options;
  const outbound = `127.0.0.1:${options.outboundPort ?? (road ? 15001 : await freePort())}`;
  const admin = `127.0.0.1:${options.adminPort ?? (road ? 15000 : await freePort())}`;
  const there = (argv: readonly string[]): string[] => (road ? road.inVehicle(argv) : [...argv]);
  const mark = randomUUID();
  const pids = familyOf(mark);
  const argv = there([
    ...(options.wrap ?? []),
    ...[process.execPath, program, 'up', ...(await policyArgs(options))],
    ...['--data', options.data, '--outbound', outbound, '--admin', admin, ...(options.extraArgs ?? [])],
  ]);
  // It ends with this process, also where that is killed.
  const env = { ...process.env, LAYBY_LAUNCHED: '1', ...options.env };
  const child = spawn(argv[0]!, argv.slice(1), {
    env: { ...env, [MARK]: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const endNow = () => {
    for (const { pid } of pids()) sigkill(pid);
  };
  const forget = endsWithTheRig(endNow);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const ended = exited.then(([code]) => code);

  const lines: string[] = [];
  const events = new EventEmitter().setMaxListeners(0);
  for (const output of [child.stdout, child.stderr])
    createInterface({ input: output }).on('line', (line) => {
      lines.push(line);
      events.emit('line', line);
      if (output === child.stdout && line === 'layby: ready') events.emit('ready');
    });

  const killAll = async () => {
    // Again until nothing is left: a part may have been starting another one.
    for (let left = pids(); left.length > 0; left = pids()) {
      for (const { pid } of left) sigkill(pid);
      await gone(left.map(({ pid }) => pid));
    }
  };
  try {
    await ready(child, events, lines, options.timeout ?? 30_000);
  } catch (error) {
    await killAll();
    forget();
    throw error;
  }

  const pidOf = (part: Part): number => {
    const proc = pids().find(({ name }) => name === part);
    if (!proc) throw new Error(`no process ${part} runs; there are: ${pids().map(({ name }) => name)}`);
    return proc.pid;
  };
  const cli = (...args: string[]) =>
    run(there([process.execPath, program, ...args, '--admin', admin]), { env, timeout: 20_000 });
  const get = (path: string) => curl(`http://${admin}${path}`, { ...(road ? { road } : {}), maxTime: 10 });
  const queue = async () => JSON.parse(await cli('queue', 'ls', '--json')) as QueueLine[];

  return {
    ...{ outbound, admin, lines, ended, pids, pidOf, cli, get, queue },
    log: () =>
      lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>),
    untilLine: async (matches, timeout = 30_000) => {
      const old = lines.find(matches);
      if (old !== undefined) return old;
      const tail = () => `no such line; the last ones:\n${lines.slice(-10).join('\n')}`;
      return untilEvent(events, 'line', matches, timeout, tail);
    },
    kill9: async (part) => {
      if (part === 'all') return killAll();
      const pid = pidOf(part);
      sigkill(pid);
      await gone([pid]);
    },
    end: async (parts, signal) => {
      const ending = parts.map(pidOf);
      for (const pid of ending) process.kill(pid, signal);
      await gone(ending);
    },
    stop: async (timeout = 10_000) => {
      const started = performance.now();
      const main = pids().find(({ name }) => name === 'layby up');
      if (main) process.kill(main.pid, 'SIGINT');
      const late = setTimeout(endNow, timeout);
      const code = await ended;
      clearTimeout(late);
      const ms = performance.now() - started;
      const left = pids();
      await killAll();
      forget();
      return { code, ms, left };
    },
    status: async () => JSON.parse(await cli('status', '--json')) as Status,
    untilQueue: async (enough, timeout = 30_000) => {
      const deadline = performance.now() + timeout;
      for (;;) {
        const now = await queue();
        if (enough(now)) return now;
        if (performance.now() > deadline)
          throw new Error(
            `not within ${timeout} ms; in the queue: ${JSON.stringify(now.slice(0, 5))} (${now.length})`,
          );
        await sleep(100); // The command line is asked, it does not tell.
      }
    },
    link: (state, ...destinations) => cli('link', state, ...destinations),
    metrics: async () => samplesIn((await get('/metrics')).body.toString()),
    rssAnon: (part) => rssAnon(pidOf(part)),
  };
};
