// The command line as a person meets it: run to its end, with its words and the time it took. Programs that go on running
// are for test/rig/layby.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export const PROGRAM = fileURLToPath(new URL('../../bin/layby.js', import.meta.url));

export interface Ended {
  /** null where it had to be killed. */
  code: number | null;
  stdout: string;
  /** The lines of stderr that are words for a person: not the log, which is JSON. */
  said: string[];
  ms: number;
}

/** Runs `layby ARGS`. Killed after 20 s. */
export const layby = async (
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> => {
  const from = performance.now();
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  return { code: child.exitCode, stdout, said: lines, ms: performance.now() - from };
};
