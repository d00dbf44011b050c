// One generation: a LevelDB of its own for about 256 MiB of bodies, filled once and dropped whole. It knows bytes and keys;
// which of them are live is for generations.ts.

import { mkdir, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { decodeKey, encodeKey, KIND } from './keys.ts';

export interface Put {
  key: Buffer;
  value: Buffer;
}

/** Measured: with 16 MiB buffers and 64 MiB tables a generation writes each byte twice (log and table) and never compacts. */
const OPTIONS = {
  keyEncoding: 'buffer',
  valueEncoding: 'buffer',
  compression: false,
  writeBufferSize: 16 * 1024 * 1024,
  maxFileSize: 64 * 1024 * 1024,
  cacheSize: 1024 * 1024,
} as const;

/** LevelDB's option, which the universal interface that `level` is typed as does not know. */
export const SYNCED = { sync: true } as object;

/** Average bytes of a value. A chained batch takes half the time on the main thread (0.6 against 1.4 µs an operation), but keeps
 *  its copy of the bytes until the garbage collector comes by: with chunks that was 600 MB. */
const CHAINED_BELOW = 8 * 1024;

export class Generation {
  readonly number: number;
  readonly dir: string;
  readonly db: Level<Buffer, Buffer>;
  /** The next counter to give. */
  counter = 1;
  /** Bytes put since it was opened, plus what was there. */
  written = 0;
  /** Nothing in it yet, so the opening record is still due. */
  fresh = false;

  private constructor(number: number, dir: string) {
    this.number = number;
    this.dir = dir;
    this.db = new Level<Buffer, Buffer>(dir, OPTIONS);
  }

  /** A new one. Its directory entry is on the disk before it is used, or a power cut could lose the whole of it. */
  static async create(parent: string, number: number, dir: string): Promise<Generation> {
    await mkdir(dir, { recursive: true });
    const generation = new Generation(number, dir);
    await generation.db.open({ createIfMissing: true });
    await syncDirectory(dir);
    await syncDirectory(parent);
    generation.fresh = true;
    return generation;
  }

  static async open(number: number, dir: string): Promise<Generation> {
    const generation = new Generation(number, dir);
    await generation.db.open({ createIfMissing: false });
    return generation;
  }

  /** Goes on where it ended; `floor` is the smallest counter that was surely never given. */
  async resume(floor: number): Promise<void> {
    const [last] = await this.db.keys({ reverse: true, limit: 1 }).all();
    const key = last && decodeKey(last);
    this.counter = Math.max(floor, key ? key.counter + 1 : 1);
    this.fresh = key === undefined;
    this.written = await directoryBytes(this.dir);
  }

  /** Every batch is synced: LevelDB closes a log that it rotates without fsync, so a later sync would not cover this one. */
  async write(puts: Put[]): Promise<void> {
    const bytes = puts.reduce((sum, { value }) => sum + value.length, 0);
    if (bytes / puts.length < CHAINED_BELOW) {
      const batch = this.db.batch();
      for (const { key, value } of puts) batch.put(key, value);
      await batch.write(SYNCED);
    } else {
      const operations = puts.map(({ key, value }) => ({ type: 'put' as const, key, value }));
      await this.db.batch(operations, SYNCED);
    }
    this.written += bytes;
  }

  /** Moves what is in the memory table into a table file, which the next opening would have to do before its first read. */
  async settle(): Promise<void> {
    const end = encodeKey(2 ** 48 - 1, KIND.copied, 0);
    // Of LevelDB, not of the universal interface that `level` is typed as.
    const db = this.db as Level<Buffer, Buffer> & {
      compactRange(start: Buffer, end: Buffer): Promise<void>;
    };
    await db.compactRange(end, end);
  }

  async close(): Promise<void> {
    await this.db.close();
  }
}

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
