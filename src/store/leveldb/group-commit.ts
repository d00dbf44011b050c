// The one loop that writes bodies. It takes what all writers have waiting, up to a bound, gives keys and numbers, writes one
// synced batch, and answers all of them: at 64 waiting one fsync serves 64 entries. An entry's seq is given while its batch
// is formed; a batch that fails gives its numbers back, so there are no gaps.
//
// While a batch is with LevelDB, a second one may follow that holds chunks only: nobody is told anything because of it, and
// LevelDB does not wait for this thread. Batches land in their order, and what follows a failed one counts as failed.

import { setImmediate as afterIo } from 'node:timers/promises';
import { StallWatch } from '../../platform/stall-watch.ts';
import type { EntryHead } from '../store.ts';
import { payloadOf } from './chunk.ts';
import {
  appendExtent,
  type EntryRecord,
  type Extent,
  encodeEntryRecord,
  encodeOpening,
} from './entry-record.ts';
import type { Generation, Put } from './generation.ts';
import type { Generations } from './generations.ts';
import { encodeKey, type GenerationKey, KIND } from './keys.ts';
import { storeFailed } from './level-errors.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { Slot } from './slot.ts';
import type { StoreClock } from './store-clock.ts';

/** One batch: large enough that the fsync costs little, small enough that a receipt does not wait long behind it. */
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_ENTRIES = 4096;
/** Chunks that are worth a batch of their own while another is under way; fewer wait and share the next fsync. */
const FOLLOW_BYTES = 1024 * 1024;

/** A body on the disk so far. */
export interface Body {
  /** 48 bits; chunks and record carry it. */
  readonly writer: number;
  readonly extents: Extent[];
  /** Releases the generations that its chunks keep from being removed. */
  readonly unpin: (() => void)[];
  /** Once set, nothing of it is written any more. */
  failure?: unknown;
}

/** What an entry record holds besides what the commit itself adds. */
export interface Draft {
  head: EntryHead;
  bytes: number;
  sha256: string;
  md5?: string;
  trailers: string[];
  /** A small body: its one chunk, encoded. */
  inline?: Buffer | undefined;
  /** An entry that was committed before, and is moved here or edited, keeps its number and time. */
  moved?: Pick<EntryRecord, 'seq' | 'committed' | 'edition'>;
  /** Entries that become its body, and leave: nothing may change them until the commit is over. */
  composed?: { group: string; of: Slot[] };
}

export interface Placed {
  record: EntryRecord;
  at: GenerationKey & { generation: number };
  recordBytes: number;
  moved: boolean;
  leaves: readonly Slot[];
}

interface Submission {
  body: Body;
  chunks: Buffer[];
  bytes: number;
  draft: Draft | undefined;
  placed?: Placed;
  resolve(placed: Placed | undefined): void;
  reject(failure: unknown): void;
}

export class GroupCommit {
  readonly #generations: Generations;
  readonly #budget: MemoryBudget;
  readonly #clock: StoreClock;
  #queue: Submission[] = [];
  #running: Promise<void> | undefined;
  #roll: PromiseWithResolvers<void> | undefined;
  /** The batches that are with LevelDB; resolves when all have landed. */
  #flight: Promise<void> | undefined;
  #flying = 0;
  /** Resolved when something came that may be worth a second batch. */
  #more: PromiseWithResolvers<void> | undefined;
  #nextSeq: number;
  /** Finds a commit that hangs. */
  stalls = new StallWatch();
  /** Awaited before each batch: the index must not fall behind without bound. */
  ready: () => Promise<void> | undefined = () => undefined;
  /** Called with what is now safe, before anyone is told; synchronous, so that the tellers find it in the index. */
  committed: (placed: Placed[], position: { seq: number; generation: number; counter: number }) => void =
    () => {};
  failed: (cause: unknown) => void = () => {};

  constructor(generations: Generations, budget: MemoryBudget, clock: StoreClock, nextSeq: number) {
    this.#generations = generations;
    this.#clock = clock;
    this.#budget = budget;
    this.#nextSeq = nextSeq;
  }

  /** Encoded chunks of a body, in order; with a draft, the commit of the entry. Rejects with LAYBY_STORE_FAILED. */
  submit(body: Body, chunks: Buffer[], draft?: Draft): Promise<Placed | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<Placed | undefined>();
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, draft?.inline?.length ?? 0);
    this.#budget.take(bytes);
    this.#queue.push({ body, chunks, bytes, draft, resolve, reject });
    this.#more?.resolve();
    this.#wake();
    return promise;
  }

  /** Seals the current generation before the next batch; resolves when that is done. */
  roll(): Promise<void> {
    this.#roll ??= Promise.withResolvers<void>();
    this.#wake();
    return this.#roll.promise;
  }

  /** Resolves when nothing is waiting. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  #wake(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0 || this.#roll) this.#wake();
    });
  }

  async #run(): Promise<void> {
    do {
      // Those who were just answered come back with their next entries in this turn; they belong into one batch.
      await afterIo();
      if (this.#roll) {
        await this.#flight;
        this.#generations.seal();
        this.#roll.resolve();
        this.#roll = undefined;
      }
      const batch = this.#take();
      if (batch.length > 0) await this.#write(batch);
      await this.#landed();
    } while (this.#queue.length > 0 || this.#roll);
    await this.#flight;
  }

  /** Resolves when the next batch may be formed: nothing is under way, or one that another may follow. */
  async #landed(): Promise<void> {
    while (this.#flight && !this.#mayFollow()) {
      this.#more = Promise.withResolvers<void>();
      await Promise.race([this.#flight, this.#more.promise]);
    }
    this.#more = undefined;
  }

  #mayFollow(): boolean {
    if (this.#flying > 1 || this.#roll || !this.#generations.hasRoom) return false;
    let bytes = 0;
    for (const submission of this.#queue) {
      if (submission.draft) return false;
      bytes += submission.bytes;
      if (bytes >= FOLLOW_BYTES) return true;
    }
    return false;
  }

  #take(): Submission[] {
    let bytes = 0;
    let count = 0;
    for (const { bytes: more, draft } of this.#queue) {
      if (count > 0 && (bytes + more > BATCH_BYTES || count === BATCH_ENTRIES)) break;
      if (draft && this.#flight) break;
      bytes += more;
      count++;
    }
    return this.#queue.splice(0, count).filter((submission) => {
      if (submission.body.failure === undefined) return true;
      this.#reject(submission, submission.body.failure);
      return false;
    });
  }

  /** Resolves when the batch is with LevelDB. */
  async #write(batch: Submission[]): Promise<void> {
    const firstSeq = this.#nextSeq;
    let generation: Generation | undefined;
    let written: Promise<void>;
    try {
      await this.ready();
      generation = await this.stalls.watch(
        'starting a generation of the store',
        this.#generations.writable(),
      );
      written = this.stalls.write('a commit of the store', generation.write(this.#form(batch, generation)));
    } catch (cause) {
      written = Promise.reject(cause);
    }
    const position = generation && {
      seq: this.#nextSeq - 1,
      generation: generation.number,
      counter: generation.counter - 1,
    };
    const before = this.#flight;
    this.#flying++;
    const flight = Promise.allSettled([written, before]).then(([result]) => {
      this.#flying--;
      if (this.#flight === flight) this.#flight = undefined;
      if (result.status === 'fulfilled' && !generation!.failed) this.#safe(batch, position!);
      else
        this.#failed(batch, firstSeq, generation, result.status === 'rejected' ? result.reason : undefined);
    });
    this.#flight = flight;
  }

  #safe(batch: Submission[], position: { seq: number; generation: number; counter: number }): void {
    const placed = batch.flatMap((submission) => submission.placed ?? []);
    this.committed(placed, position);
    for (const submission of batch) {
      this.#give(submission);
      submission.resolve(submission.placed);
    }
  }

  /** What the failed batch left is unknown, and LevelDB refuses every later write: it goes on in a new generation. */
  #failed(batch: Submission[], firstSeq: number, generation: Generation | undefined, cause: unknown): void {
    this.#nextSeq = Math.min(this.#nextSeq, firstSeq);
    if (generation && !generation.failed) {
      generation.failed = true;
      this.#generations.seal(true);
    }
    const failure = storeFailed('The store could not write', cause);
    for (const submission of batch) {
      submission.body.failure = failure;
      this.#reject(submission, failure);
    }
    this.failed(failure);
  }

  #form(batch: Submission[], generation: Generation): Put[] {
    const puts: Put[] = [];
    const put = (kind: GenerationKey['kind'], writer: number, value: Buffer): GenerationKey => {
      const key = { counter: generation.counter++, kind, writer };
      puts.push({ key: encodeKey(key.counter, kind, writer), value });
      return key;
    };
    const committed = this.#clock.reading();
    if (generation.fresh) put(KIND.opening, 0, encodeOpening(this.#nextSeq));
    generation.fresh = false;
    for (const submission of batch) {
      const { body, draft } = submission;
      for (const chunk of submission.chunks) {
        const { counter } = put(KIND.chunk, body.writer, chunk);
        if (body.extents.at(-1)?.[0] !== generation.number)
          body.unpin.push(this.#generations.pin([generation.number]));
        appendExtent(body.extents, generation.number, counter, payloadOf(chunk).length);
      }
      if (!draft) continue;
      const { head, bytes, sha256, md5, trailers, inline, moved, composed } = draft;
      const record: EntryRecord = {
        v: 1,
        head,
        bytes,
        sha256,
        ...(md5 !== undefined && { md5 }),
        trailers,
        seq: moved?.seq ?? this.#nextSeq++,
        writer: body.writer,
        extents: body.extents,
        committed: moved?.committed ?? committed,
        ...(composed && { composes: composed.group }),
        ...(moved?.edition !== undefined && { edition: moved.edition }),
      };
      const value = encodeEntryRecord(record, inline);
      const key = put(moved ? KIND.copied : KIND.entry, body.writer, value);
      const at = { generation: generation.number, ...key };
      const leaves = composed?.of ?? [];
      submission.placed = { record, at, recordBytes: value.length, moved: moved !== undefined, leaves };
    }
    return puts;
  }

  #reject(submission: Submission, failure: unknown): void {
    this.#give(submission);
    submission.reject(failure);
  }

  #give({ bytes, chunks, draft }: Submission): void {
    this.#budget.give(bytes);
    for (const chunk of chunks) this.#budget.release(chunk);
    if (draft?.inline) this.#budget.release(draft.inline);
  }
}
