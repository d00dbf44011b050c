// Reads records and bodies out of the generations and trusts nothing it has not checked: what does not match its CRC32C, or
// is not there, comes back as words, or ends a body before the first wrong byte.

import { decodeChunk } from './chunk.ts';
import { decodeEntryRecord, type EntryRecord } from './entry-record.ts';
import type { Generations } from './generations.ts';
import { encodeKey, KIND } from './keys.ts';
import type { Slot } from './slot.ts';

/** Bytes of a body that are fetched at once; the next such piece is fetched while this one is on its way. */
const FETCH_BYTES = 1024 * 1024;

/** A body that cannot be read to its end; the message says why. */
export class BodyDamaged extends Error {
  override name = 'BodyDamaged';
}

/** The record of each slot, or what is wrong with it. */
export const readRecords = async (
  generations: Generations,
  slots: Slot[],
): Promise<(EntryRecord | string)[]> => {
  const byGeneration = Map.groupBy(slots.keys(), (i) => slots[i]!.at.generation);
  const records = new Array<EntryRecord | string>(slots.length);
  for (const [generation, places] of byGeneration) {
    const keys = places.map((i) => {
      const { counter, kind, writer } = slots[i]!.at;
      return encodeKey(counter, kind, writer);
    });
    const values = await generations.read(generation, keys);
    for (const [n, i] of places.entries()) {
      const record = decodeEntryRecord(values[n]);
      const { id, seq } = slots[i]!;
      const same = typeof record === 'string' || (record.head.id === id && record.seq === seq);
      records[i] = same ? record : `another entry (${record.head.id}) stands in its place`;
    }
  }
  return records;
};

interface Fetch {
  generation: number;
  counters: number[];
  size: number;
  writer: number;
  /** Position of the first byte in the body. */
  at: number;
}

/** Where a body is. */
type Stored = Pick<EntryRecord, 'writer' | 'extents' | 'bytes' | 'inline'>;

function* fetches(record: Stored, start: number, end: number): Generator<Fetch> {
  let at = 0;
  for (const [generation, first, count, size, writer = record.writer] of record.extents) {
    if (at >= end) return;
    const from = Math.max(0, Math.floor((start - at) / size));
    const to = Math.min(count, Math.ceil((end - at) / size));
    const step = Math.max(1, Math.floor(FETCH_BYTES / size));
    for (let i = from; i < to; i += step) {
      const counters = Array.from({ length: Math.min(step, to - i) }, (_, n) => first + i + n);
      yield { generation, counters, size, writer, at: at + i * size };
    }
    at += count * size;
  }
}

/** The bytes from `start` to `end` (exclusive). Throws BodyDamaged. */
export async function* readBody(
  generations: Generations,
  record: Stored,
  start = 0,
  end = record.bytes,
): AsyncGenerator<Buffer> {
  if (record.inline) {
    const payload = decodeChunk(record.writer, record.inline, record.bytes);
    if (typeof payload === 'string') throw new BodyDamaged(payload);
    const piece = payload.subarray(start, Math.max(start, end));
    if (piece.length > 0) yield piece;
    return;
  }
  const fetch = async (wanted: Fetch): Promise<Buffer[]> => {
    const keys = wanted.counters.map((counter) => encodeKey(counter, KIND.chunk, wanted.writer));
    const values = await generations.read(wanted.generation, keys);
    return values.map((value, i) => {
      const payload = decodeChunk(wanted.writer, value, wanted.size);
      if (typeof payload !== 'string') return payload;
      throw new BodyDamaged(
        `${payload} (generation ${wanted.generation}, counter ${wanted.counters[i]}, byte ${wanted.at + i * wanted.size})`,
      );
    });
  };
  const ahead = fetches(record, start, Math.min(end, record.bytes));
  const next = (): { wanted: Fetch; payloads: Promise<Buffer[]> } | undefined => {
    const { value, done } = ahead.next();
    if (done) return undefined;
    const payloads = fetch(value);
    payloads.catch(() => {}); // seen when its turn comes, which may never be
    return { wanted: value, payloads };
  };
  let upcoming = next();
  while (upcoming) {
    const { wanted, payloads } = upcoming;
    const ready = await payloads;
    upcoming = next();
    for (const [i, payload] of ready.entries()) {
      const at = wanted.at + i * wanted.size;
      const piece = payload.subarray(Math.max(0, start - at), Math.max(0, end - at));
      if (piece.length > 0) yield piece;
    }
  }
}
