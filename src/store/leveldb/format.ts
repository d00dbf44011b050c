// Which format the store in a directory has: one number in a file, behind a checksum, so that a flipped bit is not taken for a
// newer Layby.

import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { LaybyError } from '../../telemetry/error.ts';
import type { Damage } from '../store.ts';
import { syncDirectory } from './directory.ts';

/** 2: the store's time, times to live and a sum of the slots in the index, encryption. 3: entries are found by their resource.
 *  Older ones are opened, and become 3. */
const VERSION = 3;
const FILE = 'format.json';

const textOf = (version: number): string =>
  `${JSON.stringify({ version, crc32c: crc32c(String(version)) })}\n`;

/** Refuses a newer format with LAYBY_STORE_NEWER; makes a new directory, and sets aside a file that cannot be trusted. */
export const checkFormat = async (dir: string, damage: Damage[]): Promise<void> => {
  await mkdir(dir, { recursive: true });
  const path = join(dir, FILE);
  const text = await readFile(path, 'utf8').catch((cause) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });
  const version = text === undefined ? undefined : versionOf(text);
  if (text !== undefined && version === undefined) {
    const aside = `${FILE}.damaged-${Date.now()}`;
    await rename(path, join(dir, aside));
    damage.push({ reason: `${FILE} was damaged and set aside as ${aside}; format ${VERSION} is assumed` });
  }
  if (version !== undefined && version > VERSION)
    throw new LaybyError(
      'LAYBY_STORE_NEWER',
      `The store in ${dir} has format ${version}, this Layby knows ${VERSION}`,
      { remedy: 'Start the newer Layby again, and let it drain the store before you go back' },
    );
  // From here on an older Layby would not understand all of it.
  if (version !== VERSION || text !== textOf(VERSION)) await write(dir, path);
};

const write = async (dir: string, path: string): Promise<void> => {
  const handle = await open(`${path}.new`, 'w');
  try {
    await handle.writeFile(textOf(VERSION));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
  await syncDirectory(dir);
};

/** undefined: damaged. Format 1 had no checksum, so anything but exactly that form needs one. */
const versionOf = (text: string): number | undefined => {
  try {
    const { version, crc32c: sum, ...rest } = JSON.parse(text) as { version?: unknown; crc32c?: unknown };
    if (typeof version !== 'number' || Object.keys(rest).length > 0) return undefined;
    if (sum === undefined) return version;
    return sum === crc32c(String(version)) ? version : undefined;
  } catch {
    return undefined;
  }
};
