// The simulated disk of a memory store: what a crash leaves. It holds entry records with their bodies (the generations of the
// LevelDB store), and the index, which is written a moment later. A batch that is being written when the process ends is on the disk as a
// whole or not at all.

import type { EntryRecord } from '../../src/store/leveldb/entry-record.ts';
import type { Slot } from '../../src/store/leveldb/slot.ts';
import type { Reading } from '../../src/store/leveldb/store-clock.ts';
import type { StoreEvent } from '../../src/store/store.ts';
import type { Random } from '../rig/random.ts';

/** Lines of the audit trail that are kept. */
const LINES = 100_000;

/** The bytes of one body, or of one part of a composed one. */
export interface Body {
  chunks: Buffer[];
  bytes: number;
  /** The first byte that cannot be read. */
  damagedAt?: number;
}

export interface MemoryRecord extends EntryRecord {
  /** Its place: numbers of one disk only grow. */
  counter: number;
  bodies: Body[];
  /** An edit of a record that was written before. */
  moved: boolean;
  /** Why it cannot be read. */
  damaged?: string;
}

/** What a flush of the index writes. */
export interface IndexBatch {
  /** undefined: it left. */
  slots: ReadonlyMap<string, Slot | undefined>;
  progress: ReadonlyMap<string, unknown>;
  lines: readonly StoreEvent[];
  /** Counters of records that no slot leads to any more. */
  garbage: readonly number[];
  /** Records up to this counter are in the index. */
  watermark: number;
  reading: Required<Reading>;
}

/** What goes wrong. Each is asked for every operation of its kind; absent: never. */
export interface StoreFaults {
  /** A batch is not written: a commit is refused with LAYBY_STORE_FAILED, a change of the index is tried again. */
  writeFails?(label: 'commit' | 'flush'): boolean;
  /** The disk has no room for it: LAYBY_STORE_FULL. */
  full?(label: 'begin' | 'write' | 'compose' | 'edit'): boolean;
  /** From now on the record cannot be read. */
  recordDamaged?(id: string): boolean;
  /** From now on the body cannot be read beyond this byte; undefined: it is sound. */
  bodyDamaged?(bytes: number): number | undefined;
  /** What is on the disk of a batch that was under way at the crash, or that had failed just before it. */
  keeps?(label: 'commit' | 'flush' | 'failed commit'): boolean;
}

/** Faults at random, each with a probability; what is left out does not occur. Batches under way at a crash are kept or lost with
 *  one probability. */
export const randomFaults = (
  random: Random,
  chances: {
    writeFails?: number;
    full?: number;
    recordDamaged?: number;
    bodyDamaged?: number;
    keeps?: number;
  },
): StoreFaults => {
  const occurs = (chance = 0): boolean => chance > 0 && random() < chance;
  return {
    writeFails: () => occurs(chances.writeFails),
    full: () => occurs(chances.full),
    recordDamaged: () => occurs(chances.recordDamaged),
    bodyDamaged: (bytes) => (occurs(chances.bodyDamaged) ? Math.floor(random() * bytes) : undefined),
    keeps: () => occurs(chances.keeps ?? 1 / 2),
  };
};

export class MemoryDisk {
  /** By counter. */
  readonly records: Map<number, MemoryRecord>;
  readonly slots: Map<string, Slot>;
  readonly progress: Map<string, unknown>;
  lines: StoreEvent[];
  watermark: number;
  reading: Required<Reading> | undefined;
  /** Records that no slot leads to any more. */
  garbage: number[];
  nextCounter: number;
  nextSeq: number;
  /** Bodies that had bytes on the disk and no commit at the crash. */
  abandoned = 0;
  /** Batches that are being written. */
  committing: MemoryRecord[] | undefined;
  flushing: IndexBatch | undefined;
  /** The last batch, where it failed: nobody knows what the disk has of it. */
  doubtful: MemoryRecord[] | undefined;
  /** Records of each body. */
  readonly #users = new Map<Body, number>();
  #bytes = 0;

  constructor(from?: MemoryDisk) {
    this.records = new Map(from?.records);
    this.slots = new Map(from?.slots);
    this.progress = new Map(from?.progress);
    this.lines = [...(from?.lines ?? [])];
    this.watermark = from?.watermark ?? 0;
    this.reading = from?.reading;
    this.garbage = [...(from?.garbage ?? [])];
    this.nextCounter = from?.nextCounter ?? 1;
    this.nextSeq = from?.nextSeq ?? 1;
    for (const record of this.records.values()) this.#count(record, 1);
  }

  /** As it is after a crash now. */
  crashed(faults: StoreFaults): MemoryDisk {
    const keeps = (label: 'commit' | 'flush' | 'failed commit'): boolean => faults.keeps?.(label) ?? false;
    const disk = new MemoryDisk(this);
    // Numbers that only a batch under way has are given again.
    const first = this.committing?.find(({ moved }) => !moved);
    if (first) disk.nextSeq = first.seq;
    if (this.flushing && keeps('flush')) disk.write(this.flushing);
    if (this.doubtful && keeps('failed commit')) disk.add(this.doubtful);
    else if (this.committing && keeps('commit')) disk.add(this.committing);
    return disk;
  }

  /** A batch of records has been written. */
  add(records: readonly MemoryRecord[]): void {
    for (const record of records) {
      this.records.set(record.counter, record);
      this.#count(record, 1);
      this.nextCounter = Math.max(this.nextCounter, record.counter + 1);
      this.nextSeq = Math.max(this.nextSeq, record.seq + 1);
    }
  }

  write({ slots, progress, lines, garbage, watermark, reading }: IndexBatch): void {
    for (const [id, slot] of slots) {
      if (slot) this.slots.set(id, slot);
      else this.slots.delete(id);
    }
    for (const [id, value] of progress) {
      if (value === undefined) this.progress.delete(id);
      else this.progress.set(id, value);
    }
    this.lines.push(...lines);
    this.garbage.push(...garbage);
    if (this.lines.length > LINES + LINES / 8) this.lines = this.lines.slice(-LINES);
    this.watermark = watermark;
    this.reading = reading;
  }

  /** Removes the records that no slot leads to. */
  reclaim(): void {
    for (const counter of this.garbage.splice(0)) {
      const record = this.records.get(counter);
      if (record && this.records.delete(counter)) this.#count(record, -1);
    }
  }

  #count({ bodies }: MemoryRecord, sign: 1 | -1): void {
    this.#bytes += sign * RECORD_BYTES;
    for (const body of bodies) {
      const users = this.#users.get(body) ?? 0;
      if (users === 0 || users + sign === 0) this.#bytes += sign * body.bytes;
      if (users + sign === 0) this.#users.delete(body);
      else this.#users.set(body, users + sign);
    }
  }

  /** Records and bodies, each body once. */
  get bytes(): number {
    return this.#bytes;
  }
}

/** What a record takes without a body. */
export const RECORD_BYTES = 512;
