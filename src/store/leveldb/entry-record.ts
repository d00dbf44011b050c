// The record that makes a body an entry. It is written in the same synced batch as the last chunks, into the generation:
// that batch is the commit. 4 bytes CRC32C, then JSON.

import { crc32c } from '@node-rs/crc32';
import type { Commit, EntryHead } from '../store.ts';

/** A run of chunks: [generation, first counter, chunks, payload bytes of each]. */
export type Extent = [generation: number, first: number, count: number, size: number];

export interface EntryRecord {
  v: 1;
  head: EntryHead;
  seq: number;
  bytes: number;
  sha256: string;
  md5?: string;
  trailers: string[];
  writer: number;
  extents: Extent[];
  committed: Commit;
}

const HEADER = 4;

export const encodeEntryRecord = (record: EntryRecord): Buffer => {
  const json = JSON.stringify(record);
  const length = Buffer.byteLength(json);
  const value = Buffer.allocUnsafe(HEADER + length);
  value.write(json, HEADER);
  value.writeUInt32LE(crc32c(value.subarray(HEADER)), 0);
  return value;
};

/** The record, or in words what is wrong with it. */
export const decodeEntryRecord = (value: Buffer | undefined): EntryRecord | string => {
  if (value === undefined) return 'the entry record is missing';
  if (value.length <= HEADER || crc32c(value.subarray(HEADER)) !== value.readUInt32LE(0))
    return 'the CRC32C of the entry record does not match';
  const record = JSON.parse(value.toString('utf8', HEADER)) as EntryRecord;
  const sum = record.extents.reduce((bytes, [, , count, size]) => bytes + count * size, 0);
  return sum === record.bytes ? record : `the chunks hold ${sum} bytes instead of ${record.bytes}`;
};

/** Appends one chunk, into the last run where it follows on from it. */
export const appendExtent = (extents: Extent[], generation: number, counter: number, size: number): void => {
  const last = extents.at(-1);
  if (last && last[0] === generation && last[1] + last[2] === counter && last[3] === size) last[2]++;
  else extents.push([generation, counter, 1, size]);
};

/** Payload bytes in each generation; the record itself counts where it stands. */
export const partsOf = (
  extents: Extent[],
  generation: number,
  recordBytes: number,
): [generation: number, bytes: number][] => {
  const parts = new Map<number, number>([[generation, recordBytes]]);
  for (const [number, , count, size] of extents) parts.set(number, (parts.get(number) ?? 0) + count * size);
  return [...parts];
};

/** What `opening` holds: the first seq that this generation may carry, so the numbers of the one before end there. */
export const encodeOpening = (firstSeq: number): Buffer => Buffer.from(JSON.stringify({ v: 1, firstSeq }));
export const decodeOpening = (value: Buffer | undefined): number | undefined => {
  try {
    return value && Number((JSON.parse(value.toString()) as { firstSeq: number }).firstSeq);
  } catch {
    return undefined;
  }
};
