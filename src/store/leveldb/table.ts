// Reads LevelDB's table files without LevelDB (doc/table_format.md there), to find what LevelDB must not see: it trusts the keys in a
// table, and a wrong length there ends the process with an assertion, at every start again. Bytes of values do not matter here:
// they have checksums of ours.

import { type FileHandle, open } from 'node:fs/promises';
import { crc32c } from '@node-rs/crc32';

const FOOTER = 48;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');
/** Compression and CRC32C, behind each block. */
const TRAILER = 5;
/** Of an internal key: sequence number and kind. */
const SUFFIX = 8;
/** Up to here a block is read whole and its checksum tells; of a larger one, which ends in one large value, only the keys are. */
const SMALL = 64 * 1024;
/** LevelDB ends a block behind the entry that makes it larger than 4 KiB; longer keys than this the store does not have. */
const HEAD = 16 * 1024;

export interface TableEntry {
  key: Buffer;
  value: Buffer;
  deleted: boolean;
}

/** `ahead`: more of what follows will be wanted. */
type Read = (at: number, length: number, ahead?: boolean) => Buffer | Promise<Buffer>;
interface Handle {
  at: number;
  size: number;
}

class Unusable extends Error {}

/** Throws where it has no end. */
export const varint = (bytes: Buffer, from: number): [value: number, next: number] => {
  let value = 0;
  let factor = 1;
  for (let at = from; at < bytes.length && at < from + 8; at++) {
    value += (bytes[at]! & 127) * factor;
    if (bytes[at]! < 128) return [value, at + 1];
    factor *= 128;
  }
  throw new Unusable('a number has no end');
};

const handleIn = (bytes: Buffer, from = 0): [handle: Handle, next: number] => {
  const [at, next] = varint(bytes, from);
  const [size, end] = varint(bytes, next);
  return [{ at, size }, end];
};

const checksumOf = (block: Buffer): number => {
  const sum = crc32c(block.subarray(0, block.length - 4));
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0;
};

const isIntact = (block: Buffer): boolean => checksumOf(block) === block.readUInt32LE(block.length - 4);

/** Larger sequence numbers come first. */
const compare = (a: Buffer, b: Buffer): number =>
  Buffer.compare(a.subarray(0, -SUFFIX), b.subarray(0, -SUFFIX)) ||
  (a.readBigUInt64LE(a.length - SUFFIX) < b.readBigUInt64LE(b.length - SUFFIX) ? 1 : -1);

interface Found {
  key: Buffer;
  valueAt: number;
  valueEnd: number;
}

/** The entries of a block whose first bytes are `head`, and that has `size`; throws Unusable. */
function* entriesIn(head: Buffer, size: number, restarts: number[]): Generator<Found> {
  const end = size - 4 - 4 * restarts.length;
  const starts = new Set<number>();
  let key = Buffer.alloc(0);
  for (let at = 0; at < end; ) {
    const [shared, a] = varint(head, at);
    const [rest, b] = varint(head, a);
    const [length, c] = varint(head, b);
    if (shared > key.length || shared + rest < SUFFIX || c + rest > head.length)
      throw new Unusable('a key is damaged');
    if (shared === 0) starts.add(at);
    const next = Buffer.concat([key.subarray(0, shared), head.subarray(c, c + rest)]);
    if (next[next.length - SUFFIX]! > 1) throw new Unusable('a key is of no known kind');
    if (key.length > 0 && compare(key, next) >= 0) throw new Unusable('the keys are in disorder');
    key = next;
    at = c + rest + length;
    if (at > end) throw new Unusable('a value is damaged');
    yield { key, valueAt: c + rest, valueEnd: at };
  }
  if (!restarts.every((restart) => starts.has(restart))) throw new Unusable('a restart point is damaged');
}

const restartsIn = async (size: number, tail: (bytes: number) => Promise<Buffer>): Promise<number[]> => {
  if (size < 4) throw new Unusable('a block is too short');
  const count = (await tail(4)).readUInt32LE(0);
  if (count === 0 || 4 + count * 4 > size) throw new Unusable('the restart points are damaged');
  const points = await tail(4 + count * 4);
  return Array.from({ length: count }, (_, i) => points.readUInt32LE(i * 4));
};

/** First and last key of a block that LevelDB may see, where its checksum does not vouch for it; throws Unusable. */
const checkBlock = async (
  read: Read,
  { at, size }: Handle,
): Promise<[first: Buffer, last: Buffer] | undefined> => {
  const whole = size <= SMALL ? await read(at, size + TRAILER, true) : undefined;
  const compression = whole?.[size] ?? (await read(at + size, 1))[0];
  if (compression !== 0) {
    if (!whole && isIntact(await read(at, size + TRAILER))) return undefined;
    throw new Unusable('a compressed block is damaged');
  }
  const restarts = await restartsIn(size, async (bytes) =>
    whole ? whole.subarray(size - bytes, size) : read(at + size - bytes, bytes),
  );
  const head = whole?.subarray(0, size) ?? (await read(at, HEAD));
  let first: Buffer | undefined;
  let last: Buffer | undefined;
  for (const { key } of entriesIn(head, size, restarts)) {
    first ??= key;
    last = key;
  }
  return first && last && [first, last];
};

/** Where the blocks are, and the key that none in them passes. */
const indexOf = async (
  read: Read,
  fileSize: number,
): Promise<{ handles: (Handle & { bound: Buffer })[]; intact: boolean }> => {
  const footer = await read(fileSize - FOOTER, FOOTER);
  if (!footer.subarray(-8).equals(MAGIC)) throw new Unusable('the footer is damaged');
  const [, next] = handleIn(footer);
  const [{ at, size }] = handleIn(footer, next);
  if (at + size + TRAILER > fileSize) throw new Unusable('the footer is damaged');
  const block = await read(at, size + TRAILER);
  const handles: (Handle & { bound: Buffer })[] = [];
  let intact = isIntact(block);
  if (block[size] !== 0) {
    if (!intact) throw new Unusable('the index block is damaged');
    return { handles, intact };
  }
  try {
    const restarts = await restartsIn(size, async (bytes) => block.subarray(size - bytes, size));
    for (const { key, valueAt, valueEnd } of entriesIn(block.subarray(0, size), size, restarts)) {
      const [handle] = handleIn(block.subarray(valueAt, valueEnd));
      if (handle.at + handle.size + TRAILER > fileSize) throw new Unusable('a block is beyond the end');
      handles.push({ ...handle, bound: key });
    }
  } catch (cause) {
    if (!(cause instanceof Unusable)) throw cause;
    intact = false; // what stands before it may be good
  }
  return { handles, intact };
};

/** Small blocks follow one another: so much is read at once. */
const WINDOW = 1024 * 1024;

const windowed = (file: FileHandle, fileSize: number): Read => {
  let start = 0;
  let window: Buffer = Buffer.alloc(0);
  const into = async (at: number, length: number): Promise<Buffer> => {
    const { buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, at);
    return buffer;
  };
  const refill = async (at: number, length: number): Promise<Buffer> => {
    start = at;
    window = await into(at, Math.min(Math.max(WINDOW, length), fileSize - at));
    return window.subarray(0, length);
  };
  return (at, length, ahead) => {
    if (at < 0 || length < 0 || at + length > fileSize) throw new Unusable('the file is too short');
    if (!ahead) return into(at, length);
    if (at < start || at + length > start + window.length) return refill(at, length);
    return window.subarray(at - start, at - start + length);
  };
};

const withTable = async <T>(path: string, use: (read: Read, size: number) => Promise<T>): Promise<T> => {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    return await use(windowed(file, size), size);
  } finally {
    await file.close();
  }
};

/** In words why LevelDB must not see the table; undefined where it may. */
export const tableProblem = (path: string): Promise<string | undefined> =>
  withTable(path, async (read, size) => {
    try {
      const { handles, intact } = await indexOf(read, size);
      if (!intact) throw new Unusable('the index block is damaged');
      let before: Buffer | undefined;
      for (const handle of handles) {
        if (handle.size <= SMALL) {
          // Nearly always so; a hundred thousand promises would cost more than the sums.
          const block = read(handle.at, handle.size + TRAILER, true);
          if (isIntact(block instanceof Promise ? await block : block)) continue;
        }
        const keys = await checkBlock(read, handle);
        if (!keys) continue;
        if (before && compare(before, keys[0]) >= 0) throw new Unusable('the blocks are in disorder');
        if (compare(keys[1], handle.bound) > 0 && !keys[1].equals(handle.bound))
          throw new Unusable('a block does not fit the index');
        before = handle.bound;
      }
      return undefined;
    } catch (cause) {
      if (cause instanceof Unusable) return cause.message;
      throw cause;
    }
  });

/** What can be read of a table that LevelDB must not see: the entries of all blocks whose checksum is right. */
export async function* salvage(path: string): AsyncGenerator<TableEntry[]> {
  const { handles } = await withTable(path, indexOf).catch((cause) => {
    if (cause instanceof Unusable) return { handles: [] };
    throw cause;
  });
  for (const { at, size } of handles) {
    const block = await withTable(path, async (read) => read(at, size + TRAILER));
    if (!isIntact(block) || block[size] !== 0) continue;
    const restarts = await restartsIn(size, async (bytes) => block.subarray(size - bytes, size));
    yield [...entriesIn(block.subarray(0, size), size, restarts)].map(({ key, valueAt, valueEnd }) => ({
      key: key.subarray(0, -SUFFIX),
      value: block.subarray(valueAt, valueEnd),
      deleted: key[key.length - SUFFIX] === 0,
    }));
  }
}
