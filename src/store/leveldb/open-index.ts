// Opens the index, or what is left of it, or a new one in its place; nothing of a damaged one is deleted. Whether its content can be
// relied on is for recovery.ts.

import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Damage } from '../store.ts';
import type { Cipher } from './cipher.ts';
import { EntryIndex, type Watermark } from './entry-index.ts';
import { COPY } from './generation.ts';
import type { Mark } from './high-water.ts';
import { WATERMARK_KEY } from './keys.ts';
import { FilesDamaged, isDamaged, reasonOf } from './level-errors.ts';
import { undoUnfinishedEdit } from './manifest.ts';
import { badFiles, keepCopy, repairFrom, unborn } from './mend.ts';
import { noteWhy } from './set-aside.ts';
import type { StoreClock } from './store-clock.ts';

export interface OpenedIndex {
  index: EntryIndex;
  /** undefined: the index is new, or has lost it. */
  watermark: Watermark | undefined;
  /** It has to be compared with the generations: it was repaired, or is older than it should be. */
  doubtful: boolean;
}

/** Throws what LevelDB throws where the disk fails. */
export const openIndex = async (
  dir: string,
  clock: StoreClock,
  mark: Mark | undefined,
  damage: Damage[],
  cipher?: Cipher,
): Promise<OpenedIndex> => {
  const path = join(dir, 'index');
  const copy = path + COPY;
  await keepCopy(path, copy).catch(ignoreMissing);
  await undoUnfinishedEdit(path).catch(ignoreMissing);
  const asideName = `index.damaged-${Date.now()}`;
  const setAside = async (reason: string): Promise<string> => {
    const aside = join(dir, asideName);
    await rename(copy, aside);
    await noteWhy(aside, reason);
    damage.push({ reason: `the index was damaged (${reason}); its files as they were are in ${asideName}` });
    return aside;
  };
  const open = async (): Promise<EntryIndex> => {
    const bad = await badFiles(path, new Set()).catch(ignoreMissing);
    if (bad && bad.length > 0) throw new FilesDamaged(bad.join('; '));
    return EntryIndex.open(path, clock, cipher);
  };
  let doubtful = false;
  let index: EntryIndex;
  try {
    index = await open();
  } catch (cause) {
    if (!isDamaged(cause)) throw cause;
    if (await unborn(copy)) {
      await rm(path, { recursive: true });
      index = await open();
    } else {
      const aside = await setAside(reasonOf(cause));
      doubtful = true;
      index = await repairFrom(aside, path, isWatermark)
        .then(open)
        .catch(async (again) => {
          if (!isDamaged(again)) throw again;
          await rm(path, { recursive: true, force: true });
          return open();
        });
    }
  }
  const watermark = await index.readWatermark(mark?.flush);
  if (!doubtful && watermark?.flush !== undefined && mark && watermark.flush < mark.flush) {
    await setAside(`it is at flush ${watermark.flush} and was at ${mark.flush}`);
    doubtful = true;
  }
  await rm(copy, { recursive: true, force: true });
  return { index, watermark, doubtful };
};

/** An old one would hide that there was a newer one. */
const isWatermark = (key: Buffer): boolean => key.toString() === WATERMARK_KEY;

const ignoreMissing = (cause: unknown): undefined => {
  if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause;
  return undefined;
};
