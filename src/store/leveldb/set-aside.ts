// What could not be used and was set aside: nothing of it is ever removed but by an operator's hand, so it is listed and counted.
// The quota does not count it, since nothing that replay does gives it back; the reserve of the disk sees it as anything else.

import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SetAsideTotals } from '../store.ts';
import { lockStore } from './store-lock.ts';

export interface SetAside {
  /** In the directory of the store. */
  name: string;
  /** What the disk gets back with it: files that the store still uses under another name count nothing. */
  bytes: number;
  /** Wall clock, ms since the epoch. */
  at: number;
  /** In words. */
  reason: string;
}

const NAME = /\.damaged-(\d+)$/;
const NOTE = 'WHY';

/** Says why a directory was set aside, for whoever finds it there; the report of the opening has it too. */
export const noteWhy = (aside: string, reason: string): Promise<void> =>
  writeFile(join(aside, NOTE), `${reason}\n`).catch(() => {});

/** The oldest first. */
export const listSetAside = async (dir: string): Promise<SetAside[]> => {
  const found: SetAside[] = [];
  for (const parent of ['', 'generations'])
    for (const file of await readdir(join(dir, parent)).catch(() => [])) {
      const [, at] = NAME.exec(file) ?? [];
      if (at === undefined) continue;
      const name = join(parent, file);
      const reason = await readFile(join(dir, name, NOTE), 'utf8').catch(() => 'it could not be trusted');
      found.push({ name, bytes: await ownBytes(join(dir, name)), at: Number(at), reason: reason.trimEnd() });
    }
  return found.sort((a, b) => a.at - b.at);
};

export const totalSetAside = async (dir: string): Promise<SetAsideTotals> => {
  const listed = await listSetAside(dir);
  return { copies: listed.length, bytes: listed.reduce((sum, { bytes }) => sum + bytes, 0) };
};

/** Removes what `listed` names, of a store that nobody has open. Errors: LAYBY_STORE_IN_USE. */
export const discardSetAside = async (dir: string, listed: SetAside[]): Promise<void> => {
  const lock = await lockStore(dir);
  try {
    for (const { name } of listed) await rm(join(dir, name), { recursive: true, force: true });
  } finally {
    await lock.release();
  }
};

const ownBytes = async (path: string): Promise<number> => {
  const file = await stat(path).catch(() => undefined); // it may go meanwhile
  if (!file?.isDirectory()) return file?.nlink === 1 ? file.size : 0;
  let bytes = 0;
  for (const name of await readdir(path).catch(() => [])) bytes += await ownBytes(join(path, name));
  return bytes;
};
