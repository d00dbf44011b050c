// Apps that send one file with PUT, each with a client as it comes: no retries, timeouts or adapters of ours. Which there are, is in
// uploaders.ts; what each is, in the files beside it. The programs are handed VARIANT URL FILE, and print a Seen as JSON.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { endsWithTheRig } from '../../lifetime.ts';
import type { Road } from '../../namespaces.ts';
import { sigkill } from '../../processes.ts';

/** What the app sees of its upload. */
export interface Seen {
  /** The status of the last answer, where the client gives one. */
  status?: number;
  /** The client's own name for what went wrong: an exception, an exit code. */
  error?: string;
  /** The message of that. */
  words?: string;
  /** Of the client. */
  version?: string;
}

/** What a client makes of a 307: asks again where it leads, gives it to the app, or fails. */
export type On307 = 'follows' | 'hands it back' | 'fails';

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Command {
  argv: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Of one that is no program of ours. */
  read?: (ended: Ended) => Seen;
}

export interface Uploader {
  name: string;
  /** Why it cannot be had here, or false. */
  skip: string | false;
  on307: On307;
  /** The body comes from its standard input. */
  pipe?: true;
  command(url: string, file: string): Promise<Command>;
}

export interface Run {
  url: string;
  file: string;
  road: Pick<Road, 'inVehicle'>;
  /** ms; after it the client hangs, and is killed. */
  timeout?: number;
}

export const HUNG = 'hung';

/** Runs it in the vehicle, to its end. Rejects only where a program of ours breaks its word. */
export const upload = async (
  uploader: Uploader,
  { url, file, road, timeout = 60_000 }: Run,
): Promise<Seen & { ms: number }> => {
  const { argv, env, read } = await uploader.command(url, file);
  const [command = '', ...args] = road.inVehicle(argv);
  const body = uploader.pipe ? await open(file) : undefined;
  const started = performance.now();
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: [body ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  let late = false;
  const end = () => sigkill(child.pid!);
  const forget = endsWithTheRig(end);
  const timer = setTimeout(() => {
    late = true;
    end();
  }, timeout);
  // A client may be done before it read everything.
  child.stdin?.on('error', () => {});
  if (body) body.createReadStream().pipe(child.stdin!);
  const said = { stdout: '', stderr: '' };
  for (const output of ['stdout', 'stderr'] as const)
    child[output]!.on('data', (piece: Buffer) => {
      said[output] += piece;
    });
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  forget();
  const ms = performance.now() - started;
  if (late) return { error: HUNG, ms };
  const ended = { code, ...said };
  if (read) return { ...read(ended), ms };
  if (code !== 0) throw new Error(`${uploader.name} ended with ${code}: ${said.stderr.trim()}`);
  return { ...(JSON.parse(said.stdout) as Seen), ms };
};
