// Rotation of the operator's key, on a store that nobody has open: the data keys are wrapped anew, no body is touched.

import { join } from 'node:path';
import { Level } from 'level';
import { LaybyError } from '../../telemetry/error.ts';
import { KeyRing } from './key-ring.ts';
import { isLocked } from './level-errors.ts';

/** Resolves with how many data keys there are. Errors: LAYBY_STORE_IN_USE, LAYBY_STORE_KEY_WRONG (nothing has changed). */
export const rekeyStore = async (dir: string, key: Buffer, next: Buffer): Promise<number> => {
  const lock = new Level(join(dir, 'index'), { createIfMissing: false });
  try {
    await lock.open();
  } catch (cause) {
    if (isLocked(cause))
      throw new LaybyError('LAYBY_STORE_IN_USE', `Another process has the store in ${dir} open`, {
        remedy: 'Stop it first, and start it again with the new key',
        cause,
      });
    throw new LaybyError('LAYBY_STORE_FAILED', `There is no store in ${dir} that can be opened`, {
      remedy: 'Name the data directory of the queue',
      cause,
    });
  }
  try {
    return await (await KeyRing.open(dir, key)).rewrap(next);
  } finally {
    await lock.close();
  }
};
