// One body on its way into the memory store: pieces are gathered to chunks as the LevelDB store does it (writer.ts), so that
// `kept` is as far behind, and memory that a caller gave away is gone.

import { createHash, type Hash } from 'node:crypto';
import { CHUNK_BYTES } from '../../src/store/leveldb/chunk.ts';
import type { Entry, EntryHead, EntryWriter, WriterOptions } from '../../src/store/store.ts';
import { LaybyError } from '../../src/telemetry/error.ts';
import type { MemoryCommits } from './memory-commits.ts';
import type { Body, MemoryRecord } from './memory-disk.ts';

/** Pieces of a body that are read, bytes. */
const FETCH_BYTES = 1024 * 1024;
const SMALLEST_CHUNK = 4 * 1024;
const GATHERED_BYTES = 4 * 1024 * 1024;

export interface WriterHost {
  readonly commits: MemoryCommits;
  readonly openWriters: number;
  touch(label: string): Promise<void>;
  /** Why so many bytes more do not fit; undefined where they do. */
  refusal(label: 'write', bytes: number): LaybyError | undefined;
  expect(bytes: number): void;
  /** Throws LAYBY_ENTRY_EXISTS. */
  claim(writer: MemoryWriter): void;
  ended(writer: MemoryWriter): void;
  entryOf(record: MemoryRecord): Entry;
}

/** Bytes from `start` to `end`, in pieces of at most 1 MiB. Throws BodyDamaged. */
export async function* readBodies(
  bodies: readonly Body[],
  start: number,
  end: number,
  touch: (label: string) => Promise<void>,
): AsyncGenerator<Buffer> {
  let at = 0;
  for (const { chunks, bytes, damagedAt = Number.POSITIVE_INFINITY } of bodies) {
    let inBody = 0;
    for (const chunk of chunks) {
      const from = Math.max(0, start - at);
      const to = Math.min(chunk.length, end - at);
      if (from < to) {
        await touch('read body');
        if (damagedAt < inBody + to)
          throw new BodyDamaged(`the CRC32C of the chunk at byte ${at} does not match`);
        for (let i = from; i < to; i += FETCH_BYTES)
          yield Buffer.from(chunk.subarray(i, Math.min(to, i + FETCH_BYTES)));
      }
      inBody += chunk.length;
      at += chunk.length;
    }
    if (inBody < bytes) throw new BodyDamaged(`${bytes - inBody} bytes are missing`);
  }
}

export class BodyDamaged extends Error {
  override name = 'BodyDamaged';
}

export class MemoryWriter implements EntryWriter {
  readonly head: EntryHead;
  readonly #host: WriterHost;
  readonly #options: WriterOptions;
  readonly #body: Body = { chunks: [], bytes: 0 };
  readonly #sha256 = createHash('sha256');
  readonly #md5: Hash | undefined;
  #bytes = 0;
  #kept = 0;
  #pieces: Buffer[] = [];
  #gathered = 0;
  #expected: number;
  #failure: unknown;
  #over = false;
  /** Set from commit() to its end. */
  claimed = false;

  constructor(host: WriterHost, head: EntryHead, expected: number, options: WriterOptions) {
    this.head = head;
    this.#host = host;
    this.#options = options;
    this.#expected = expected;
    this.#md5 = options.md5 ? createHash('md5') : undefined;
    host.expect(expected);
  }

  get bytes(): number {
    return this.#bytes;
  }

  get kept(): number {
    return this.#kept;
  }

  async *read({
    start = 0,
    end = this.#kept,
  }: {
    start?: number;
    end?: number;
  } = {}): AsyncGenerator<Buffer> {
    if (this.#failure !== undefined) throw this.#failure;
    const { chunks } = this.#body;
    const kept = { chunks: chunks.slice(), bytes: 0 };
    yield* readBodies([kept], start, Math.min(end, this.#kept), (label) => this.#host.touch(label));
  }

  write(piece: Buffer): Promise<void> | undefined {
    try {
      return this.#write(piece);
    } catch (failure) {
      return Promise.reject(failure);
    }
  }

  #write(piece: Buffer): Promise<void> | undefined {
    this.#check();
    if (piece.length === 0) return undefined;
    const beyond = Math.max(0, piece.length - this.#expected);
    const refusal = this.#host.refusal('write', beyond);
    if (refusal) this.fail(refusal);
    this.#check();
    this.#expect(-(piece.length - beyond));
    this.#bytes += piece.length;
    this.#gathered += piece.length;
    this.#pieces.push(piece);
    return this.#gathered >= this.#chunkBytes ? this.#cutAll() : undefined;
  }

  #cutAll(): Promise<void> | undefined {
    while (this.#gathered >= this.#chunkBytes && !this.#over) {
      const chunk = this.#cut(this.#chunkBytes);
      this.#submit(chunk.length).then(
        () => {
          this.#kept += chunk.length;
        },
        (cause: unknown) => this.fail(cause),
      );
      const room = this.#host.commits.room();
      if (room) return room.then(() => this.#cutAll() ?? this.#check());
    }
    this.#check();
    return undefined;
  }

  #submit(bytes: number, draft?: Parameters<MemoryCommits['submit']>[0]['draft']) {
    return this.#host.commits.submit({
      bytes,
      draft,
      failure: () => this.#failure,
      fail: (cause) => {
        this.#failure = cause;
      },
    });
  }

  async commit(trailers: string[] = []): Promise<Entry> {
    this.#check();
    try {
      this.#host.claim(this);
    } catch (taken) {
      this.fail(taken);
      throw taken;
    }
    this.claimed = true;
    this.#over = true;
    try {
      const bytes = this.#gathered;
      if (bytes > 0) this.#cut(bytes);
      const md5 = this.#md5?.digest('hex');
      const record = await this.#submit(bytes, {
        head: this.head,
        bytes: this.#bytes,
        sha256: this.#sha256.digest('hex'),
        ...(md5 !== undefined && { md5 }),
        trailers,
        bodies: [this.#body],
        moved: false,
      });
      return this.#host.entryOf(record!);
    } finally {
      this.#end();
    }
  }

  async abort(): Promise<void> {
    if (!this.#over) this.fail(new LaybyError('LAYBY_WRITER_ENDED', 'The body was given up'));
  }

  /** Ends it with the error that the next call gets. */
  fail(cause: unknown): void {
    if (this.#over) return;
    this.#failure ??= cause;
    this.#over = true;
    this.#pieces = [];
    this.#end();
  }

  /** Whether the disk has bytes of it. */
  get hasChunks(): boolean {
    return this.#kept > 0;
  }

  #end(): void {
    this.#expect(-this.#expected);
    this.#host.ended(this);
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#over)
      throw new LaybyError('LAYBY_WRITER_ENDED', `The body of entry ${this.head.id} has already ended`, {
        remedy: 'Begin a new entry',
      });
  }

  #expect(bytes: number): void {
    this.#expected += bytes;
    this.#host.expect(bytes);
  }

  get #chunkBytes(): number {
    const share = Math.floor(GATHERED_BYTES / this.#host.openWriters / SMALLEST_CHUNK) * SMALLEST_CHUNK;
    return Math.min(CHUNK_BYTES, Math.max(SMALLEST_CHUNK, share));
  }

  #cut(bytes: number): Buffer {
    const pieces = Buffer.concat(this.#pieces);
    const chunk = Buffer.from(pieces.subarray(0, bytes));
    for (const { buffer, byteLength } of this.#pieces)
      if (this.#options.owned && byteLength === buffer.byteLength) (buffer as ArrayBuffer).transfer(0);
    this.#pieces = bytes < pieces.length ? [pieces.subarray(bytes)] : [];
    this.#gathered -= bytes;
    this.#sha256.update(chunk);
    this.#md5?.update(chunk);
    this.#body.chunks.push(chunk);
    this.#body.bytes += bytes;
    return chunk;
  }
}
