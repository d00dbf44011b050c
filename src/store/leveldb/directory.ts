// Directories of the store: their names on the disk, and what they take there.

import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Resolves when a power cut can no longer take the names in it. */
export const syncDirectory = async (dir: string): Promise<void> => {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Bytes on the disk of all files below `dir`; files that vanish meanwhile count as nothing. */
export const directoryBytes = async (dir: string): Promise<number> => {
  let bytes = 0;
  for (const file of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const path = join(dir, file.name);
    if (file.isDirectory()) bytes += await directoryBytes(path);
    else bytes += (await stat(path).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
};
