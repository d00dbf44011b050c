// Into which parts an object goes. Pure.
//
// All parts but the last have one size, for the whole upload: a part's range follows from its number, which is what a resumed upload
// knows, and some servers (R2) refuse anything else. It is chosen when the upload begins, from what the way has carried lately.

const MIB = 1024 * 1024;
/** S3's own limits, bytes and parts. */
const SMALLEST = 5 * MIB;
const LARGEST = 5 * 1024 * MIB;
const MOST_PARTS = 10_000;
/** A part shall take about so long, s: what a cut costs at most; and the round trip between two parts is little beside it. */
const PART_S = 4;
/** Where S3's limits do not ask for more, bytes: what a kill -9 costs at most on the fastest link. */
const LARGEST_WANTED = 64 * MIB;
/** On a way that needs longer for the smallest part, one part at a time: two would both be lost by a cut, s. */
const SLOW_S = 6;

/** bytes; undefined where the object is too large for any. `rate`: bytes per second, where it is known. */
export function partSizeFor(bytes: number, rate: number | undefined): number | undefined {
  const wanted = Math.min(LARGEST_WANTED, rate === undefined ? SMALLEST : rate * PART_S);
  const size = Math.max(SMALLEST, Math.ceil(wanted / MIB) * MIB, Math.ceil(bytes / MOST_PARTS / MIB) * MIB);
  return size > LARGEST ? undefined : size;
}

/** How many parts may be under way: two hide the round trip between parts. */
export const partsAtOnce = (partSize: number, rate: number | undefined): number =>
  rate !== undefined && partSize / rate <= SLOW_S ? 2 : 1;

/** Of a body whose length is not known: it may become twice as long as it is. */
export const growingPartSize = (bytes: number, rate: number | undefined): number | undefined =>
  partSizeFor(bytes * 2, rate);

/** More than goes into parts of that size: the upload has to begin anew, with larger ones. */
export const isOutgrown = (bytes: number, partSize: number): boolean => bytes > partSize * MOST_PARTS;

export interface PartRange {
  /** From 1. */
  number: number;
  start: number;
  /** Exclusive. */
  end: number;
}

export function partsOf(bytes: number, partSize: number): PartRange[] {
  const parts: PartRange[] = [];
  for (let start = 0; start < bytes; start += partSize)
    parts.push({ number: parts.length + 1, start, end: Math.min(bytes, start + partSize) });
  return parts;
}
