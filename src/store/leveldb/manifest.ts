// Which tables a LevelDB counts as its own, read from its MANIFEST as LevelDB reads it (doc/log_format.md and db/version_edit.cc
// there): a table that is not among them is the leftover of a crash. And the one edit that a power cut can leave there too early.

import { open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { varint } from './table.ts';

const BLOCK = 32 * 1024;
const HEADER = 7;
const FULL = 1;
const LAST = 4;

const unmask = (masked: number): number => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

interface LogRecord {
  /** Where it begins in the log. */
  at: number;
  bytes: Buffer;
}

/** The records of a log, up to its torn end. undefined: one is damaged. */
const recordsOf = (log: Buffer): LogRecord[] | undefined => {
  const records: LogRecord[] = [];
  let begin = 0;
  let parts: Buffer[] = [];
  for (let at = 0; at + HEADER <= log.length; ) {
    const left = BLOCK - (at % BLOCK);
    if (left < HEADER) {
      at += left;
      continue;
    }
    const end = at + HEADER + log.readUInt16LE(at + 4);
    if (end > log.length) return records;
    if (end - at > left) return undefined;
    const kind = log[at + 6]!;
    if (crc32c(log.subarray(at + 6, end)) !== unmask(log.readUInt32LE(at))) return undefined;
    if (parts.length === 0) begin = at;
    parts.push(log.subarray(at + HEADER, end));
    if (kind === FULL || kind === LAST) {
      records.push({ at: begin, bytes: Buffer.concat(parts) });
      parts = [];
    }
    at = end;
  }
  return records;
};

const TAG = {
  comparator: 1,
  log: 2,
  nextFile: 3,
  lastSequence: 4,
  pointer: 5,
  deleted: 6,
  added: 7,
  previousLog: 9,
};

interface Version {
  /** Their numbers. */
  tables: Set<number>;
  /** Number of the oldest log whose content is in no table. */
  log: number;
}

const apply = (edit: Buffer, version: Version): void => {
  let at = 0;
  const number = (): number => {
    const [value, next] = varint(edit, at);
    at = next;
    return value;
  };
  const skipText = (): void => {
    const length = number();
    at += length;
  };
  while (at < edit.length) {
    const tag = number();
    if (tag === TAG.comparator) skipText();
    else if (tag === TAG.log) version.log = number();
    else if (tag === TAG.nextFile || tag === TAG.lastSequence || tag === TAG.previousLog) number();
    else if (tag === TAG.pointer) {
      number();
      skipText();
    } else if (tag === TAG.deleted) {
      number();
      version.tables.delete(number());
    } else if (tag === TAG.added) {
      number();
      version.tables.add(number());
      number();
      skipText();
      skipText();
    } else return;
  }
};

const versionOf = (edits: LogRecord[]): Version => {
  const version = { tables: new Set<number>(), log: 0 };
  for (const { bytes } of edits) apply(bytes, version);
  return version;
};

interface Manifest {
  path: string;
  bytes: Buffer;
  edits: LogRecord[];
  version: Version;
}

/** undefined where it cannot be read: LevelDB will say what is wrong with it. */
const readManifest = async (dir: string): Promise<Manifest | undefined> => {
  try {
    const path = join(dir, (await readFile(join(dir, 'CURRENT'), 'latin1')).trimEnd());
    const bytes = await readFile(path);
    const edits = recordsOf(bytes);
    return edits && { path, bytes, edits, version: versionOf(edits) };
  } catch {
    return undefined;
  }
};

/** Numbers of the tables in use; undefined where the MANIFEST cannot be read. */
export const tablesInUse = async (dir: string): Promise<ReadonlySet<number> | undefined> =>
  (await readManifest(dir))?.version.tables;

/** LevelDB writes an edit into its MANIFEST, syncs the directory, where the name of a new table is, and then the MANIFEST. POSIX lets a
 *  power cut keep the first and lose the second. The edit moved what is still where it was: without it nothing is lost. True where
 *  it was taken out. Nobody may have the database open. */
export const undoUnfinishedEdit = async (dir: string): Promise<boolean> => {
  const manifest = await readManifest(dir);
  const last = manifest?.edits.at(-1);
  if (!manifest || !last) return false;
  const there = new Set(await readdir(dir));
  const complete = ({ tables }: Version): boolean =>
    [...tables].every((table) => there.has(nameOf(table, 'ldb')) || there.has(nameOf(table, 'sst')));
  if (complete(manifest.version)) return false;
  const before = versionOf(manifest.edits.slice(0, -1));
  if (!complete(before) || !there.has(nameOf(before.log, 'log'))) return false;
  // A new file in its place, since the old one may have a second name in a copy; LevelDB removes one of this kind that is left.
  const shorter = join(dir, nameOf(0, 'dbtmp'));
  const file = await open(shorter, 'w');
  try {
    await file.writeFile(manifest.bytes.subarray(0, last.at));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(shorter, manifest.path);
  return true;
};

const nameOf = (number: number, kind: string): string => `${String(number).padStart(6, '0')}.${kind}`;
