// Rotation of the operator's key, on a store that nobody has open: the data keys are wrapped anew, no body is touched.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LaybyError } from '../../telemetry/error.ts';
import { KeyRing } from './key-ring.ts';
import { lockStore } from './store-lock.ts';

/** Resolves with how many data keys there are. Errors: LAYBY_STORE_MISSING, LAYBY_STORE_IN_USE, LAYBY_STORE_KEY_WRONG (nothing has
 *  changed). */
export const rekeyStore = async (dir: string, key: Buffer, next: Buffer): Promise<number> => {
  if (!existsSync(join(dir, 'index')))
    throw new LaybyError('LAYBY_STORE_MISSING', `There is no store in ${dir}`, {
      remedy: 'Name the data directory of layby up with --data',
    });
  const lock = await lockStore(dir);
  try {
    return await (await KeyRing.open(dir, key)).rewrap(next);
  } finally {
    await lock.release();
  }
};
