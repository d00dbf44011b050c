// The record that makes a body an entry. It is written in the same synced batch as the last chunks, into the generation:
// that batch is the commit. 4 bytes CRC32C, 4 bytes length, JSON, and behind it, where the body is small, its only chunk:
// one key less for each small entry, and the chunk's own CRC32C keeps the record readable where only the body is damaged.

import { crc32c } from '@node-rs/crc32';
import type { Commit, EntryHead } from '../store.ts';
import { payloadOf } from './chunk.ts';
import { seal, unseal } from './sealed-json.ts';

/** A run of chunks: [generation, first counter, chunks, payload bytes of each], and who wrote them where that is not the writer of
 *  the record: a composed entry has the chunks of its parts. */
export type Extent = [generation: number, first: number, count: number, size: number, writer?: number];

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
  /** What was staged in this group before it has left with this record. */
  composes?: string;
  /** How often its head was edited; absent: never. Of several records with one seq the one with the most counts. */
  edition?: number;
  /** The whole body as one encoded chunk (chunk.ts), instead of extents. Not part of the JSON. */
  inline?: Buffer;
}

const HEADER = 8;
/** The largest body that goes into the record, bytes: whoever lists entries reads it too. */
export const INLINE_BYTES = 4 * 1024;

export const encodeEntryRecord = (record: EntryRecord, inline?: Buffer): Buffer => {
  const json = JSON.stringify(record);
  const length = Buffer.byteLength(json);
  const value = Buffer.allocUnsafe(HEADER + length + (inline?.length ?? 0));
  value.writeUInt32LE(length, 4);
  value.write(json, HEADER);
  inline?.copy(value, HEADER + length);
  value.writeUInt32LE(crc32c(value.subarray(4, HEADER + length)), 0);
  return value;
};

/** The record, or in words what is wrong with it. */
export const decodeEntryRecord = (value: Buffer | undefined): EntryRecord | string => {
  if (value === undefined) return 'the entry record is missing';
  if (value.length === 0) return 'the entry record cannot be decrypted: it, or its key, is damaged';
  if (value.length < HEADER) return 'the entry record is too short';
  const end = HEADER + value.readUInt32LE(4);
  if (end > value.length || crc32c(value.subarray(4, end)) !== value.readUInt32LE(0))
    return 'the CRC32C of the entry record does not match';
  const record = JSON.parse(value.toString('utf8', HEADER, end)) as EntryRecord;
  if (end < value.length) record.inline = value.subarray(end);
  const chunked = record.extents.reduce((bytes, [, , count, size]) => bytes + count * size, 0);
  const sum = chunked + (record.inline ? payloadOf(record.inline).length : 0);
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
export const encodeOpening = (firstSeq: number): Buffer => Buffer.from(seal({ v: 2, firstSeq }));
export const decodeOpening = (value: Buffer | undefined): number | undefined => {
  const text = value?.toString('latin1');
  const sealed = unseal<{ firstSeq: number }>(text);
  if (sealed) return sealed.firstSeq;
  // Format 1 had no checksum.
  const [, digits] = /^{"v":1,"firstSeq":(\d{1,15})}$/.exec(text ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
};
