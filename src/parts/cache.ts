// Where fetched parts are kept, outside the repository and shared by every Layby of this user. A directory in it is complete
// or absent: it is filled under another name, synced, and renamed. What goes into it is for fetch.ts.

import { chmod, lstat, mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { LaybyError, messageOf } from '../telemetry/error.ts';

/** A temporary directory older than this was left by a process that was killed (ms). The slowest fetch is quicker. */
const LEFTOVER_AGE = 24 * 60 * 60 * 1000;

/** `$LAYBY_CACHE/parts`, else `$XDG_CACHE_HOME/layby/parts`, else `~/.cache/layby/parts`. */
export const partsDir = (env: NodeJS.ProcessEnv = process.env): string =>
  resolve(
    env.LAYBY_CACHE || join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'layby'),
    'parts',
  );

const sync = async (path: string): Promise<void> => {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

const removeLeftovers = async (parent: string, prefix: string): Promise<void> => {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > LEFTOVER_AGE) await rm(path, { recursive: true, force: true });
  }
};

/** Those that are there already stay as they are. */
async function makePublicDirs(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await chmod(made, 0o755);
}

const makeTemporary = async (parent: string, prefix: string): Promise<string> => {
  try {
    await makePublicDirs(parent);
    await removeLeftovers(parent, prefix);
    return await mkdtemp(join(parent, prefix));
  } catch (cause) {
    const message = `the cache ${parent} cannot be used: ${messageOf(cause)}`;
    const remedy = 'set LAYBY_CACHE to a directory that can be written';
    throw new LaybyError('LAYBY_CACHE_UNUSABLE', message, { remedy, cause });
  }
};

/** As with a umask of 022. */
async function makePublic(path: string): Promise<void> {
  const stats = await lstat(path);
  if (stats.isDirectory()) {
    await chmod(path, 0o755);
    for (const name of await readdir(path)) await makePublic(join(path, name));
  } else if (stats.isFile()) await chmod(path, stats.mode & 0o100 ? 0o755 : 0o644);
}

/** Makes the directory `target` by letting `fill` fill a temporary one beside it, which is then renamed in one step. `file`, the
 *  file of it that matters, is synced first, so that a power cut leaves no short program behind. When another process
 *  was quicker, its directory stays and ours goes. Rejects with LAYBY_CACHE_UNUSABLE, or as `fill` does. */
export const publish = async (
  target: string,
  file: string,
  fill: (temporary: string) => Promise<void>,
): Promise<void> => {
  const parent = dirname(target);
  const prefix = `.${basename(target)}.`;
  const temporary = await makeTemporary(parent, prefix);
  try {
    await fill(temporary);
    // The umask makes it ours alone, but an image is built by one user and run by another.
    await makePublic(temporary);
    await sync(join(temporary, file));
    await sync(dirname(join(temporary, file)));
    try {
      await rename(temporary, target);
      await sync(parent);
    } catch (error) {
      if (!/ENOTEMPTY|EEXIST/.test(messageOf(error))) throw error;
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
};
