// Which tables a LevelDB counts as its own, read from its MANIFEST as LevelDB reads it (doc/log_format.md and db/version_edit.cc
// there): a table that is not among them is the leftover of a crash.

import { readFile } from 'node:fs/promises';
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

/** The records of a log, up to its torn end. undefined: one is damaged. */
const recordsOf = (log: Buffer): Buffer[] | undefined => {
  const records: Buffer[] = [];
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
    parts.push(log.subarray(at + HEADER, end));
    if (kind === FULL || kind === LAST) {
      records.push(Buffer.concat(parts));
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

/** Adds and removes the numbers of the tables that one edit names. */
const apply = (edit: Buffer, tables: Set<number>): void => {
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
    else if (tag === TAG.log || tag === TAG.nextFile || tag === TAG.lastSequence || tag === TAG.previousLog)
      number();
    else if (tag === TAG.pointer) {
      number();
      skipText();
    } else if (tag === TAG.deleted) {
      number();
      tables.delete(number());
    } else if (tag === TAG.added) {
      number();
      tables.add(number());
      number();
      skipText();
      skipText();
    } else return;
  }
};

/** Numbers of the tables in use; undefined where the MANIFEST cannot be read. */
export const tablesInUse = async (dir: string): Promise<ReadonlySet<number> | undefined> => {
  try {
    const manifest = (await readFile(join(dir, 'CURRENT'), 'latin1')).trimEnd();
    const records = recordsOf(await readFile(join(dir, manifest)));
    if (!records) return undefined;
    const tables = new Set<number>();
    for (const record of records) apply(record, tables);
    return tables;
  } catch {
    return undefined; // LevelDB will say what is wrong with it
  }
};
