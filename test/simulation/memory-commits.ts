// Commits of the memory store: bodies and records that wait share a batch, as in the LevelDB store (group-commit.ts). A seq is given
// while the batch is formed, and given back where the batch fails.

import { setImmediate as afterIo } from 'node:timers/promises';
import { storeFailed } from '../../src/store/leveldb/level-errors.ts';
import type { StoreClock } from '../../src/store/leveldb/store-clock.ts';
import type { MemoryDisk, MemoryRecord } from './memory-disk.ts';

const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_ENTRIES = 4096;
/** Bytes that may wait for the disk: more must wait for them. */
const BUDGET_BYTES = 8 * 1024 * 1024;

/** A record as far as it is known before its batch. */
export type Draft = Omit<MemoryRecord, 'seq' | 'counter' | 'committed' | 'v' | 'writer' | 'extents'> & {
  /** Of an edited record. */
  before?: MemoryRecord;
};

export interface Submission {
  bytes: number;
  draft: Draft | undefined;
  /** Asked when the batch is formed: why nothing of it is to be written any more. */
  failure: () => unknown;
  /** Told that its batch failed. */
  fail: (cause: unknown) => void;
}

interface Waiting extends Submission {
  resolve(record: MemoryRecord | undefined): void;
  reject(cause: unknown): void;
}

export class MemoryCommits {
  readonly #disk: MemoryDisk;
  readonly #clock: StoreClock;
  readonly #write: () => Promise<void>;
  #queue: Waiting[] = [];
  #taken = 0;
  #roomy: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  /** Awaited before each batch. */
  ready: () => Promise<void> | undefined = () => undefined;
  /** Called in the turn in which the batch is safe, before anyone is told. */
  committed: (records: MemoryRecord[]) => void = () => {};

  /** `write` resolves when a batch is on the disk. */
  constructor(disk: MemoryDisk, clock: StoreClock, write: () => Promise<void>) {
    this.#disk = disk;
    this.#clock = clock;
    this.#write = write;
  }

  /** Bytes that wait. */
  get taken(): number {
    return this.#taken;
  }

  submit(submission: Submission): Promise<MemoryRecord | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<MemoryRecord | undefined>();
    this.#taken += submission.bytes;
    this.#queue.push({ ...submission, resolve, reject });
    this.#wake();
    return promise;
  }

  /** A promise where the next bytes must wait. */
  room(): Promise<void> | undefined {
    if (this.#taken <= BUDGET_BYTES) return undefined;
    this.#roomy ??= Promise.withResolvers<void>();
    return this.#roomy.promise;
  }

  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  #wake(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#wake();
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      await afterIo();
      const batch = this.#take();
      if (batch.length > 0) await this.#batch(batch);
      if (this.#taken > BUDGET_BYTES) continue;
      this.#roomy?.resolve();
      this.#roomy = undefined;
    }
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { bytes: more } of this.#queue) {
      if (count > 0 && (bytes + more > BATCH_BYTES || count === BATCH_ENTRIES)) break;
      bytes += more;
      count++;
    }
    return this.#queue.splice(0, count).filter((submission) => {
      const failure = submission.failure();
      if (failure === undefined) return true;
      this.#taken -= submission.bytes;
      submission.reject(failure);
      return false;
    });
  }

  async #batch(batch: Waiting[]): Promise<void> {
    const disk = this.#disk;
    const firstSeq = disk.nextSeq;
    let records: (MemoryRecord | undefined)[] = [];
    try {
      await this.ready();
      records = batch.map(({ draft }) => draft && this.#recordOf(draft));
      disk.committing = records.filter((record) => record !== undefined);
      await this.#write();
    } catch (cause) {
      disk.nextSeq = firstSeq;
      disk.doubtful = disk.committing;
      disk.committing = undefined;
      const failure = storeFailed('The store could not write', cause);
      for (const submission of batch) {
        this.#taken -= submission.bytes;
        submission.fail(failure);
        submission.reject(failure);
      }
      return;
    }
    const written = disk.committing!;
    disk.committing = undefined;
    disk.doubtful = undefined;
    disk.add(written);
    this.committed(written);
    for (const [i, { bytes, resolve }] of batch.entries()) {
      this.#taken -= bytes;
      resolve(records[i]);
    }
  }

  #recordOf({ before, ...draft }: Draft): MemoryRecord {
    return {
      v: 1,
      ...draft,
      writer: 0,
      extents: [],
      counter: this.#disk.nextCounter++,
      seq: before?.seq ?? this.#disk.nextSeq++,
      committed: before?.committed ?? this.#clock.reading(),
    };
  }
}
