// One body on its way in: gathers pieces into chunks, hashes them, hands chunks to the group commit, and ends in a commit
// or without a trace.

import { createHash, type Hash, hash } from 'node:crypto';
import { LaybyError } from '../../telemetry/error.ts';
import type { Entry, EntryHead, EntryWriter, WriterOptions } from '../store.ts';
import { BodyDamaged, readBody } from './body-reader.ts';
import { CHUNK_BYTES, encodeChunk, payloadOf } from './chunk.ts';
import { INLINE_BYTES } from './entry-record.ts';
import type { Generations } from './generations.ts';
import type { Body, Draft, GroupCommit, Placed } from './group-commit.ts';
import { BUDGET_BYTES, type MemoryBudget } from './memory-budget.ts';
import type { Space } from './space.ts';

const SMALLEST_CHUNK = 4 * 1024;

/** What a writer needs of the store around it. */
export interface WriterHost {
  readonly commits: GroupCommit;
  readonly generations: Generations;
  readonly budget: MemoryBudget;
  readonly space: Space;
  readonly openWriters: number;
  /** Throws LAYBY_ENTRY_EXISTS; from here to `ended` the id is taken. */
  claim(writer: BodyWriter): void;
  /** The writer is over, whichever way. */
  ended(writer: BodyWriter): void;
  entryOf(placed: Placed): Entry;
}

export class BodyWriter implements EntryWriter {
  readonly head: EntryHead;
  readonly body: Body;
  readonly #host: WriterHost;
  readonly #md5: boolean;
  #bytes = 0;
  #kept = 0;
  #pieces: Buffer[] = [];
  /** The memory of pieces that are nobody else's. */
  readonly #owned: Set<ArrayBufferLike> | undefined;
  #gathered = 0;
  #expected: number;
  #hashes: { sha256: Hash; md5: Hash | undefined } | undefined;
  #over = false;
  /** Set from commit() to its end: the id is this writer's. */
  claimed = false;

  constructor(host: WriterHost, writer: number, head: EntryHead, expected: number, options: WriterOptions) {
    this.head = head;
    this.body = { writer, extents: [], unpin: [] };
    this.#host = host;
    this.#expected = expected;
    this.#md5 = options.md5 ?? false;
    this.#owned = options.owned ? new Set() : undefined;
    host.space.expect(expected);
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
    if (this.body.failure !== undefined) throw this.body.failure;
    const { generations } = this.#host;
    const { writer, extents } = this.body;
    // The body may end while it is read.
    const unpin = generations.pin(extents.map(([generation]) => generation));
    try {
      yield* readBody(generations, { writer, extents, bytes: this.#kept }, start, end);
    } catch (cause) {
      if (!(cause instanceof BodyDamaged)) throw cause;
      throw new LaybyError(
        'LAYBY_ENTRY_DAMAGED',
        `What is kept of entry ${this.head.id} is damaged: ${cause.message}`,
        { remedy: 'Check the disk' },
      );
    } finally {
      unpin();
    }
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
    const refusal = this.#host.space.refusal(beyond);
    if (refusal) this.fail(refusal);
    this.#check();
    this.#expect(-(piece.length - beyond));
    this.#host.space.took(piece.length);
    this.#bytes += piece.length;
    this.#gathered += piece.length;
    this.#pieces.push(piece);
    // A small one is a part of Node's pool, and others are in it.
    if (piece.length === piece.buffer.byteLength) this.#owned?.add(piece.buffer);
    return this.#gathered >= this.#chunkBytes ? this.#cutAll() : undefined;
  }

  /** Hands over whole chunks; a promise where the next one must wait. */
  #cutAll(): Promise<void> | undefined {
    while (this.#gathered >= this.#chunkBytes && !this.#over) {
      // A failure is found at the next write or at the commit, through the body.
      const bytes = this.#chunkBytes;
      this.#host.commits.submit(this.body, [this.#cut(bytes)]).then(
        () => {
          this.#kept += bytes;
        },
        (cause) => this.fail(cause),
      );
      const room = this.#host.budget.room();
      if (room) return room.then(() => this.#cutAll() ?? this.#check());
    }
    this.#check();
    return undefined;
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
      const draft: Draft = { head: this.head, bytes: this.#bytes, sha256: '', trailers };
      const chunks = this.#lastChunks(draft);
      const placed = await this.#host.commits.submit(this.body, chunks, draft);
      return this.#host.entryOf(placed!);
    } finally {
      this.#end();
    }
  }

  async abort(): Promise<void> {
    if (!this.#over) this.fail(new LaybyError('LAYBY_WRITER_ENDED', 'The body was given up'));
  }

  /** Ends it with the error that the next call will get. */
  fail(cause: unknown): void {
    if (this.#over) return; // a commit under way goes on
    this.body.failure ??= cause;
    this.#over = true;
    this.#pieces = [];
    this.#end();
  }

  #end(): void {
    this.#expect(-this.#expected);
    for (const unpin of this.body.unpin) unpin();
    this.#host.ended(this);
  }

  #check(): void {
    if (this.body.failure !== undefined) throw this.body.failure;
    if (this.#over)
      throw new LaybyError('LAYBY_WRITER_ENDED', `The body of entry ${this.head.id} has already ended`, {
        remedy: 'Begin a new entry',
      });
  }

  #expect(bytes: number): void {
    this.#expected += bytes;
    this.#host.space.expect(bytes);
  }

  /** All writers together gather at most half of the budget, so many of them make smaller chunks. */
  get #chunkBytes(): number {
    const share = Math.floor(BUDGET_BYTES / 2 / this.#host.openWriters / SMALLEST_CHUNK) * SMALLEST_CHUNK;
    return Math.min(CHUNK_BYTES, Math.max(SMALLEST_CHUNK, share));
  }

  #cut(bytes: number): Buffer {
    const chunk = encodeChunk(this.#host.budget, this.body.writer, this.#pieces, bytes, this.#free);
    this.#gathered -= bytes;
    this.#hashes ??= { sha256: createHash('sha256'), md5: this.#md5 ? createHash('md5') : undefined };
    this.#hashes.sha256.update(payloadOf(chunk));
    this.#hashes.md5?.update(payloadOf(chunk));
    return chunk;
  }

  readonly #free = ({ buffer }: Buffer): void => {
    if (this.#owned?.delete(buffer)) (buffer as ArrayBuffer).transfer(0);
  };

  /** A body of one chunk is hashed in one call, which is a third cheaper; a small one goes into the record. */
  #lastChunks(draft: Draft): Buffer[] {
    const { writer } = this.body;
    if (this.#hashes) {
      const chunks = this.#gathered > 0 ? [this.#cut(this.#gathered)] : [];
      draft.sha256 = this.#hashes.sha256.digest('hex');
      if (this.#hashes.md5) draft.md5 = this.#hashes.md5.digest('hex');
      return chunks;
    }
    const chunk = encodeChunk(this.#host.budget, writer, this.#pieces, this.#gathered, this.#free);
    draft.sha256 = hash('sha256', payloadOf(chunk), 'hex');
    if (this.#md5) draft.md5 = hash('md5', payloadOf(chunk), 'hex');
    if (this.#gathered === 0) return [];
    // A composed entry lists the chunks of its parts, so they have some.
    if (this.#gathered > INLINE_BYTES || this.head.group !== undefined) return [chunk];
    draft.inline = chunk;
    return [];
  }
}
