// One generation: a LevelDB of its own for about 192 MiB of bodies, filled once and dropped whole. It knows bytes and keys;
// which of them are live is for generations.ts.

import { mkdir, rm } from 'node:fs/promises';
import { Level } from 'level';
import type { Cipher } from './cipher.ts';
import { directoryBytes, syncDirectory } from './directory.ts';
import { decodeKey, encodeKey, type GenerationKey, KIND } from './keys.ts';
import { FilesDamaged, isDamaged } from './level-errors.ts';
import { LogNames } from './log-names.ts';
import { undoUnfinishedEdit } from './manifest.ts';
import { badFiles, keepCopy, repairFrom, tablesGone } from './mend.ts';

export interface Put {
  key: Buffer;
  value: Buffer;
}

/** Measured: with keys that only grow a generation writes each byte twice (log and table) and never compacts, with a memory table of
 *  16 MiB as with 4. There are two of them, and each may take a batch on top: with 4 they cost 16 MiB of memory. */
const OPTIONS = {
  keyEncoding: 'buffer',
  valueEncoding: 'buffer',
  compression: false,
  writeBufferSize: 4 * 1024 * 1024,
  maxFileSize: 64 * 1024 * 1024,
  cacheSize: 1024 * 1024,
} as const;

/** Beside a directory of LevelDB: its files as they were before it was opened. */
export const COPY = '.before';

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
  /** A batch could not be written: it takes no more. */
  failed = false;
  /** Set before anything is read or written, where this one is encrypted. */
  cipher: Cipher | undefined;
  readonly #logs: LogNames;

  private constructor(number: number, dir: string) {
    this.number = number;
    this.dir = dir;
    this.db = new Level<Buffer, Buffer>(dir, OPTIONS);
    this.#logs = new LogNames(dir, OPTIONS.writeBufferSize);
  }

  /** A new one. Its directory entry is on the disk before it is used, or a power cut could lose the whole of it. */
  static async create(parent: string, number: number, dir: string): Promise<Generation> {
    await mkdir(dir, { recursive: true });
    const generation = new Generation(number, dir);
    await generation.db.open({ createIfMissing: true });
    await generation.#logs.opened();
    await syncDirectory(parent);
    generation.fresh = true;
    return generation;
  }

  /** One that is there. Throws what LevelDB throws: see level-errors.ts. A table that LevelDB would have taken for its own
   *  leftover, since its MANIFEST has lost it, is brought back. */
  static async open(number: number, dir: string, checked: Set<string>): Promise<Generation> {
    const copy = dir + COPY;
    await keepCopy(dir, copy);
    await undoUnfinishedEdit(dir);
    const bad = await badFiles(dir, checked);
    if (bad.length > 0) throw new FilesDamaged(bad.join('; '));
    const generation = new Generation(number, dir);
    await generation.db.open({ createIfMissing: false });
    if (await tablesGone(dir, copy)) {
      await generation.db.close();
      await repairFrom(copy, dir);
      await generation.db.open({ createIfMissing: false });
    }
    await rm(copy, { recursive: true, force: true });
    return generation;
  }

  /** The values of `keys`; undefined where there is none, or it cannot be read. Rejects where the disk fails. */
  async values(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    try {
      return this.#opened(keys, await this.db.getMany(keys));
    } catch (thrown) {
      if (!isDamaged(thrown)) throw thrown;
      if (keys.length === 1) return [undefined];
    }
    // One damaged block hides only what is in it.
    const values: (Buffer | undefined)[] = [];
    for (const key of keys) values.push(...(await this.values([key])));
    return values;
  }

  /** All keys from `counter` on, page by page, past what cannot be read; throws at the end where something could not. */
  async *keys(counter: number, page: number): AsyncGenerator<GenerationKey[]> {
    for (let size = page, last = encodeKey(counter, 0, 0); ; ) {
      const keys = this.db.keys({ gte: last });
      try {
        for (;;) {
          const found = await keys.nextv(size);
          if (found.length === 0) return;
          last = Buffer.concat([found.at(-1)!, Buffer.alloc(1)]);
          yield found.map(decodeKey).filter((key) => key !== undefined);
        }
      } catch (thrown) {
        // LevelDB goes past a damaged block and tells at the end; what it found on the last page comes one by one.
        if (size === 1 || !isDamaged(thrown)) throw thrown;
        size = 1;
      } finally {
        await keys.close();
      }
    }
  }

  /** Goes on where it ended; `floor` is the smallest counter that was surely never given. */
  async resume(floor: number): Promise<void> {
    let last: GenerationKey | undefined;
    for await (const key of this.db.keys({ reverse: true })) {
      last = decodeKey(key);
      if (last) break;
    }
    this.counter = Math.max(floor, last ? last.counter + 1 : 1);
    this.fresh = last === undefined;
    this.written = await directoryBytes(this.dir);
    await this.#logs.opened();
  }

  /** Every batch is synced: LevelDB closes a log that it rotates without fsync, so a later sync would not cover this one. */
  async write(plain: Put[]): Promise<void> {
    const puts = this.cipher ? plain.map((put) => sealed(put, this.cipher!)) : plain;
    const bytes = puts.reduce((sum, { value }) => sum + value.length, 0);
    if (bytes / puts.length < CHAINED_BELOW) {
      const batch = this.db.batch();
      for (const { key, value } of puts) batch.put(key, value);
      await batch.write(SYNCED);
    } else {
      const operations = puts.map(({ key, value }) => ({ type: 'put' as const, key, value }));
      await this.db.batch(operations, SYNCED);
    }
    await this.#logs.wrote(puts.length, bytes);
    this.written += bytes;
  }

  /** Empty is what does not open: nothing is written empty. */
  #opened(keys: Buffer[], values: (Buffer | undefined)[]): (Buffer | undefined)[] {
    const { cipher } = this;
    if (!cipher) return values;
    return values.map((value, i) =>
      value && !isOpening(keys[i]!) ? (cipher.open(value, keys[i]!) ?? Buffer.alloc(0)) : value,
    );
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

/** The record that a generation opens with holds nothing of anybody's, and is never encrypted. */
const isOpening = (key: Buffer): boolean => decodeKey(key)?.kind === KIND.opening;

const sealed = (put: Put, cipher: Cipher): Put =>
  isOpening(put.key) ? put : { key: put.key, value: cipher.seal(put.value, put.key) };
