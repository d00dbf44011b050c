// The index: lanes, ids, the audit trail and the watermark, in one small LevelDB. It is derived (recovery.ts can rebuild it
// from the generations), so a receipt does not wait for it.
//
// How a read sees what is not on the disk yet: every change goes into the layer `pending` at once and in one piece. A flush
// makes that layer `inFlight`, writes the whole of it as one synced batch, and forgets it. A read looks into pending, then
// inFlight, then the database. Changes are facts and never rolled back: after a failed batch the layer goes back below
// `pending`, the database is opened again, and the flush is tried again each second. So at any moment the database holds a
// state that the store was really in, and the three together hold the present one.
//
// Here is what changes and what a flush writes; index-layers.ts holds the layers, index-reads.ts reads through them, and
// flush-loop.ts says when a flush is due.

import { Level } from 'level';
import { StallWatch } from '../../platform/stall-watch.ts';
import type { StoreEvent } from '../store.ts';
import type { Cipher } from './cipher.ts';
import { FlushLoop } from './flush-loop.ts';
import { SYNCED } from './generation.ts';
import { Layer, runningKey } from './index-layers.ts';
import { IndexReads } from './index-reads.ts';
import { decodeRowKey, idKey, laneKey, rowKey, WATERMARK_KEY } from './keys.ts';
import { LogNames } from './log-names.ts';
import { awaited, ResourceCounts } from './resources.ts';
import { seal, sealSecret, unseal } from './sealed-json.ts';
import { packSlot, type Slot } from './slot.ts';
import type { Reading, StoreClock } from './store-clock.ts';
import { type Sum, Tally } from './tally.ts';

/** Up to here the generations are indexed. */
export interface Watermark {
  seq: number;
  generation: number;
  counter: number;
  /** Writers that had chunks on the disk and no entry yet. */
  open: number[];
  /** When this was written. Absent in format 1. */
  time?: Reading;
  /** Over all slots as of this flush, and its number. Absent in format 1. */
  tally?: Sum;
  flush?: number;
}

type Position = Pick<Watermark, 'seq' | 'generation' | 'counter'>;

/** The store's time goes to the disk at least so often while times to live run, ms: a power cut forgets that much. */
const TICK = 60_000;
/** Twice LevelDB's default: small entries then cost LevelDB an eighth less CPU, since tables are merged half as often. */
const WRITE_BUFFER = 8 * 1024 * 1024;

export class EntryIndex extends IndexReads {
  readonly #dir: string;
  readonly #logs: LogNames;
  protected override db: Level<string, string>;
  readonly #tally = new Tally();
  readonly #counts = new ResourceCounts();
  #flush = 0;
  #watermark: Position = { seq: 0, generation: 0, counter: 0 };
  #marked = false;
  #ticked = Number.NEGATIVE_INFINITY;
  /** LevelDB refuses every write since one failed; reads go on. */
  #broken = false;
  readonly #loop = new FlushLoop({
    waiting: () => this.pending.ids.size,
    dirty: () =>
      this.#marked || this.pending.ids.size > 0 || this.trail.waiting > 0 || this.progress.waiting > 0,
    write: () => this.#write(),
    written: () => this.onFlushed(this.#flush),
  });
  /** Finds a write that hangs. */
  stalls = new StallWatch();
  /** Writers with chunks on the disk, asked for when a watermark is written. */
  openWriters: () => number[] = () => [];
  /** Called after each flush that reached the disk. */
  onFlushed: (flush: number) => void = () => {};
  /** Asked before a database that failed is closed and opened: on a full disk it could not be opened, nor be read any more. */
  mayReopen: () => Promise<boolean> = async () => true;

  private constructor(dir: string, clock: StoreClock, cipher: Cipher | undefined) {
    super(clock, cipher);
    this.#dir = dir;
    this.#logs = new LogNames(dir, WRITE_BUFFER);
    this.db = this.#database();
  }

  #database(): Level<string, string> {
    const options = { compression: false, cacheSize: 4 * 1024 * 1024, writeBufferSize: WRITE_BUFFER };
    return new Level<string, string>(this.#dir, options);
  }

  /** Reads through all keys first, so that an unreadable table is found before anything relies on it. Throws what LevelDB throws: see
   *  level-errors.ts. */
  static async open(dir: string, clock: StoreClock, cipher?: Cipher): Promise<EntryIndex> {
    const index = new EntryIndex(dir, clock, cipher);
    await index.db.open();
    try {
      await index.#logs.opened();
      await index.verify();
      await index.trail.load(index.db);
      await index.progress.load(index.db);
      return index;
    } catch (cause) {
      await index.db.close();
      throw cause;
    }
  }

  /** Flushes are numbered on from there, and from `flush` at least. */
  async readWatermark(flush = 0): Promise<Watermark | undefined> {
    const watermark = unseal<Watermark>(await this.db.get(WATERMARK_KEY), WATERMARK_KEY);
    this.#flush = Math.max(flush, watermark?.flush ?? 0);
    return watermark;
  }

  /** A slot that was on the disk at the opening. */
  count(slot: Slot): void {
    this.#tally.add(slot);
    const sum = awaited(slot);
    if (sum !== undefined) this.#counts.add(slot.destination, sum);
  }

  #uncount(slot: Slot): void {
    this.#tally.remove(slot);
    const sum = awaited(slot);
    if (sum !== undefined) this.#counts.remove(slot.destination, sum);
  }

  /** Whether what was counted is what was written, each slot is found by its id, and no hint that leads to one was lost. */
  isSound({ tally }: Watermark): boolean {
    if (tally && !this.#tally.is(tally)) return false;
    const [slots] = this.#tally.sum;
    const hints = !this.foreign.has('r') && !this.foreign.has('t');
    return this.ids.damaged === 0 && this.ids.sound === slots && hints;
  }

  /** Nothing in the index depends on it: it is no reason to compare, which would send again what only the trail knows to be over. */
  get trailIsWhole(): boolean {
    return !this.foreign.has('a');
  }

  /** Writes a slot and its id anew, as they are. */
  rewrite(slot: Slot): void {
    this.pending.set(slot.destination, slot.seq, slot.id, slot);
    const key = runningKey(slot);
    if (key) this.pending.expiries.set(key, slot.id);
    this.#touch(slot, awaited(slot));
  }

  #touch({ destination, seq }: Slot, sum: number | undefined): void {
    if (sum !== undefined) this.pending.resources.add(destination, sum, seq);
  }

  /** Ids that lead to no slot of theirs go, and rows of resources that have none. For opening. */
  async dropStrays(isAt: (id: string, seq: number) => boolean, has: (seq: number) => boolean): Promise<void> {
    for await (const key of this.db.keys({ gt: 'r/', lt: 'r0' })) {
      const row = decodeRowKey(key);
      if (!has(row.seq)) this.pending.resources.add(row.destination, row.sum, row.seq);
    }
    for await (const [key, value] of this.db.iterator({ gt: 'i/', lt: 'i0' })) {
      const id = key.slice(idKey('').length);
      const place = unseal<{ seq: number }>(value, key);
      if ((!place || !isAt(id, place.seq)) && !this.pending.ids.has(id)) this.pending.ids.set(id, undefined);
    }
  }

  /** `before`: the slot as it was. */
  put(slot: Slot, before?: Slot): void {
    if (before) this.#uncount(before);
    this.count(slot);
    const moved = before !== undefined && before.destination !== slot.destination;
    if (!before || moved || awaited(slot) !== awaited(before)) {
      this.#touch(slot, awaited(slot));
      if (before) this.#touch(before, awaited(before));
    }
    if (moved) this.pending.set(before.destination, before.seq, before.id, undefined);
    this.pending.set(slot.destination, slot.seq, slot.id, slot);
    const key = runningKey(slot);
    const was = before && runningKey(before);
    if (key === was) return;
    if (was) this.pending.expiries.set(was, undefined);
    if (!key) return;
    this.pending.expiries.set(key, slot.id);
    this.expiryFloor = Math.min(this.expiryFloor, slot.expiry!.at);
  }

  remove(slot: Slot): void {
    this.#uncount(slot);
    this.#touch(slot, awaited(slot));
    this.pending.set(slot.destination, slot.seq, slot.id, undefined);
    const key = runningKey(slot);
    if (key) this.pending.expiries.set(key, undefined);
  }

  /** A slot that cannot be read and whose entry was not found again. */
  forget(destination: string, seq: number): void {
    this.pending.set(destination, seq, '', undefined);
  }

  /** Whether an entry may wait for a resource (its sum), or has left and would be back after a crash. Synchronous, and without a
   *  look at the disk; `resource` says what really waits. */
  mayWait(destination: string, sum: number): boolean {
    return this.#counts.has(destination, sum) || this.hasJustLeft(destination, sum);
  }

  record(event: StoreEvent): void {
    this.trail.append(event);
  }

  /** See ProgressRows. */
  setProgress(id: string, value: unknown): void {
    this.progress.set(id, value);
  }

  mark(watermark: Position): void {
    this.#watermark = watermark;
    this.#marked = true;
  }

  /** See FlushLoop. */
  flushed(): Promise<void> {
    return this.#loop.flushed();
  }

  /** Calls `run` after the next flush that succeeds: for what follows from a change whose own flush failed. */
  afterFlush(run: () => void): void {
    this.#loop.afterFlush(run);
  }

  soon(): void {
    this.#loop.soon();
  }

  room(): Promise<void> | undefined {
    return this.#loop.room();
  }

  /** Without entries that come or go the store's time is written with the times to live that run. */
  protected override ticked(now: number): void {
    if (now - this.#ticked < TICK) return;
    this.#marked = true;
    this.soon();
  }

  async #write(): Promise<void> {
    this.inFlight = this.pending;
    this.pending = new Layer();
    this.#marked = false;
    try {
      if (this.#broken) await this.#reopen();
      await this.stalls.write('a write of the index of the store', this.#writeBatch());
    } catch (cause) {
      this.inFlight.cover(this.pending);
      this.pending = this.inFlight;
      this.inFlight = new Layer();
      this.trail.failed();
      this.progress.failed();
      this.#broken = true;
      throw cause;
    }
    this.inFlight = new Layer();
    this.trail.written();
    this.progress.written();
  }

  async #writeBatch(): Promise<void> {
    const batch = this.db.batch();
    let bytes = 0;
    const put = (key: string, value: string): void => {
      batch.put(key, value);
      bytes += key.length + value.length;
    };
    const del = (key: string): void => {
      batch.del(key);
      bytes += key.length;
    };
    for (const [destination, lane] of this.inFlight.lanes)
      for (const [seq, slot] of lane) {
        const key = laneKey(destination, seq);
        if (slot) put(key, this.#sealSlot(key, slot));
        else del(key);
      }
    for (const [id, place] of this.inFlight.ids) {
      const key = idKey(id);
      if (place) put(key, seal(place, key));
      else del(key);
    }
    for (const [key, id] of this.inFlight.expiries) {
      if (id === undefined) del(key);
      else put(key, id);
    }
    for (const [destination, sum, seq] of this.inFlight.resources.all()) {
      const key = rowKey(destination, sum, seq);
      if (this.inFlight.waits(destination, sum, seq)) put(key, '');
      else del(key);
    }
    this.trail.write({ put, del });
    this.progress.write({ put, del });
    const time = this.clock.reading();
    const watermark: Watermark = {
      ...this.#watermark,
      open: this.openWriters(),
      time,
      tally: this.#tally.sum,
      flush: ++this.#flush,
    };
    put(WATERMARK_KEY, seal(watermark, WATERMARK_KEY));
    this.#ticked = time.clock;
    const keys = batch.length;
    await batch.write(SYNCED);
    await this.#logs.wrote(keys, bytes);
  }

  /** A LevelDB that failed once refuses every later write until it is opened again. */
  async #reopen(): Promise<void> {
    if (this.db.status === 'open' && !(await this.mayReopen()))
      throw new Error('the disk has no room to open it again');
    await this.db.close();
    this.db = this.#database();
    await this.db.open();
    await this.#logs.opened();
    this.#broken = false;
  }

  /** The words of servers are not for everyone; most slots have none. */
  #sealSlot(key: string, slot: Slot): string {
    const secret = slot.lastError !== undefined || slot.reason !== undefined;
    return secret ? sealSecret(packSlot(slot), key, this.cipher) : seal(packSlot(slot), key);
  }

  /** Writes what is left, then closes. */
  async close(): Promise<void> {
    try {
      await this.flushed();
    } finally {
      await this.#loop.stop(); // after a failure the database is being opened again
      await this.db.close();
    }
  }
}
