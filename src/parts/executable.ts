// Finding programs on this machine, and asking them their version. Fetching them is for fetch.ts.

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';

/** Longer than any `--version` takes, also on a slow card (ms). */
const ANSWER_TIMEOUT = 10_000;

export const isExecutable = async (path: string): Promise<boolean> => {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
};

/** Where a program is, as a shell would find it; undefined if nowhere. A name with a slash is taken as a path. */
export const onPath = async (
  name: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> => {
  if (name.includes('/')) return (await isExecutable(name)) ? resolve(name) : undefined;
  for (const directory of (env.PATH ?? '').split(delimiter)) {
    // A relative directory on PATH would make what is run depend on where Layby was started.
    if (!isAbsolute(directory)) continue;
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
};

/** What a program prints to stdout, or undefined if it fails or takes longer than 10 s. */
export const answerOf = (path: string, args: string[], env: NodeJS.ProcessEnv): Promise<string | undefined> =>
  new Promise((done) => {
    execFile(path, args, { env, timeout: ANSWER_TIMEOUT, killSignal: 'SIGKILL' }, (error, stdout) =>
      done(error ? undefined : stdout),
    );
  });
