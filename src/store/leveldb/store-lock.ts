// One process at a time has a store, from before it looks at the first file until after it has closed the last. Node has no lock of
// a file that goes with its process, LevelDB has: this is a LevelDB of its own with nothing in it. The lock of the index would not
// do, since it is opened, and while it is mended closed again, after keys and files have been read that a rotation may replace.

import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { LaybyError } from '../../telemetry/error.ts';
import { isLocked } from './level-errors.ts';

export interface StoreLock {
  release(): Promise<void>;
}

/** The file on which the operating system's lock is, in the directory of a store. */
export const LOCK_FILE = join('lock', 'LOCK');

/** Makes `dir` where it is not there. Errors: LAYBY_STORE_IN_USE; what LevelDB throws where the disk fails. */
export const lockStore = async (dir: string): Promise<StoreLock> => {
  const path = join(dir, 'lock');
  await mkdir(path, { recursive: true });
  try {
    return await open(path);
  } catch (cause) {
    if (isLocked(cause)) throw inUse(dir, cause);
  }
  // Whatever LevelDB says of it (after a zero byte in a damaged name, nothing): there is nothing in it to lose. All but the locked
  // file itself: with that another process would lose its lock.
  for (const name of await readdir(path))
    if (name !== 'LOCK') await rm(join(path, name), { recursive: true, force: true });
  try {
    return await open(path);
  } catch (cause) {
    throw isLocked(cause) ? inUse(dir, cause) : cause;
  }
};

const open = async (path: string): Promise<StoreLock> => {
  const lock = new Level(path);
  await lock.open();
  return { release: () => lock.close() };
};

export const inUse = (dir: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_STORE_IN_USE', `Another process has the store in ${dir} open`, {
    remedy: 'Stop it first, or give this one a directory of its own',
    cause,
  });
