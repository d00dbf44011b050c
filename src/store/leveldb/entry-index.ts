// The index: lanes, ids, the audit trail and the watermark, in one small LevelDB. It is derived (recovery.ts can rebuild it
// from the generations), so a receipt does not wait for it.
//
// How a read sees what is not on the disk yet: every change goes into the layer `pending` at once and in one piece. A flush
// makes that layer `inFlight`, writes the whole of it as one synced batch, and forgets it. A read looks into pending, then
// inFlight, then the database. Changes are facts and never rolled back: after a failed batch the layer goes back below
// `pending`, the database is opened again, and the flush is tried again each second. So at any moment the database holds a
// state that the store was really in, and the three together hold the present one.

import { setImmediate as afterIo } from 'node:timers/promises';
import { Level } from 'level';
import type { StoreEvent } from '../store.ts';
import { AuditTrail } from './audit-trail.ts';
import { SYNCED } from './generation.ts';
import { decodeLaneKey, idKey, laneEnd, laneKey, WATERMARK_KEY } from './keys.ts';
import { storeFailed } from './level-errors.ts';
import { seal, unseal } from './sealed-json.ts';
import { type PackedSlot, packSlot, type Slot, unpackSlot } from './slot.ts';

/** Up to here the generations are indexed. */
export interface Watermark {
  seq: number;
  generation: number;
  counter: number;
  /** Writers that had chunks on the disk and no entry yet. */
  open: number[];
}

/** Without someone waiting a flush may gather this long, ms: a crash leaves that much to be indexed again. */
const GATHER = 100;
/** Slots that make a flush due at once, and that stop the commits until it is done. */
const DUE = 2048;
const BOUND = 8192;
const RETRY = 1000;
const PAGE = 256;

class Layer {
  readonly lanes = new Map<string, Map<number, Slot | undefined>>();
  readonly ids = new Map<string, { destination: string; seq: number } | undefined>();

  set(destination: string, seq: number, id: string, slot: Slot | undefined): void {
    const lane = this.lanes.get(destination) ?? new Map<number, Slot | undefined>();
    this.lanes.set(destination, lane);
    lane.set(seq, slot);
    this.ids.set(id, slot && { destination, seq });
  }

  /** Puts what is newer on top. */
  cover(newer: Layer): void {
    for (const [destination, lane] of newer.lanes) {
      const below = this.lanes.get(destination);
      if (!below) this.lanes.set(destination, lane);
      else for (const [seq, slot] of lane) below.set(seq, slot);
    }
    for (const [id, place] of newer.ids) this.ids.set(id, place);
  }
}

export class EntryIndex {
  readonly #dir: string;
  readonly #trail = new AuditTrail();
  #db: Level<string, string>;
  #pending = new Layer();
  #inFlight = new Layer();
  #watermark: Omit<Watermark, 'open'> = { seq: 0, generation: 0, counter: 0 };
  #marked = false;
  #waiting: PromiseWithResolvers<void>[] = [];
  #roomy: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;
  /** Writers with chunks on the disk, asked for when a watermark is written. */
  openWriters: () => number[] = () => [];
  /** Called after each flush that reached the disk. */
  onFlushed: () => void = () => {};

  private constructor(dir: string) {
    this.#dir = dir;
    this.#db = this.#database();
  }

  #database(): Level<string, string> {
    return new Level<string, string>(this.#dir, { compression: false, cacheSize: 4 * 1024 * 1024 });
  }

  /** Throws what LevelDB throws: see level-errors.ts. */
  static async open(dir: string): Promise<EntryIndex> {
    const index = new EntryIndex(dir);
    await index.#db.open();
    try {
      await index.#trail.load(index.#db);
      return index;
    } catch (cause) {
      await index.#db.close();
      throw cause;
    }
  }

  async readWatermark(): Promise<Watermark | undefined> {
    return unseal<Watermark>(await this.#db.get(WATERMARK_KEY));
  }

  /** Every slot on the disk, by lane and seq; only its key where the value is damaged. For opening, before any change. */
  async *slots(): AsyncGenerator<{ destination: string; seq: number; slot: Slot | undefined }> {
    for await (const [key, value] of this.#db.iterator({ gt: 'l/', lt: 'l0' })) {
      const place = decodeLaneKey(key);
      if (place) yield { ...place, slot: slotFrom(place, value) };
    }
  }

  put(slot: Slot): void {
    this.#pending.set(slot.destination, slot.seq, slot.id, slot);
  }

  remove(slot: Slot): void {
    this.#pending.set(slot.destination, slot.seq, slot.id, undefined);
  }

  /** A slot that cannot be read and whose entry was not found again. */
  forget(destination: string, seq: number): void {
    this.#pending.set(destination, seq, '', undefined);
  }

  record(event: StoreEvent): void {
    this.#trail.append(event);
  }

  mark(watermark: Omit<Watermark, 'open'>): void {
    this.#watermark = watermark;
    this.#marked = true;
  }

  /** Whether the id is taken now. Synchronous (0.3 µs), so nothing can come between the answer and what follows from it. */
  has(id: string): boolean {
    for (const layer of [this.#pending, this.#inFlight])
      if (layer.ids.has(id)) return layer.ids.get(id) !== undefined;
    return this.#db.status === 'open' && this.#db.getSync(idKey(id)) !== undefined;
  }

  async find(id: string): Promise<Slot | undefined> {
    for (const layer of [this.#pending, this.#inFlight])
      if (layer.ids.has(id)) {
        const place = layer.ids.get(id);
        return place && layer.lanes.get(place.destination)!.get(place.seq);
      }
    const place = unseal<{ destination: string; seq: number }>(await this.#db.get(idKey(id)));
    if (!place) return undefined;
    for (const layer of [this.#pending, this.#inFlight]) {
      const lane = layer.lanes.get(place.destination);
      if (lane?.has(place.seq)) return lane.get(place.seq);
    }
    return slotFrom(place, await this.#db.get(laneKey(place.destination, place.seq)));
  }

  /** One lane in seq order, page by page; each page is the state of one moment. */
  async *lane(destination: string, after = 0, first = PAGE): AsyncGenerator<Slot> {
    for (let limit = Math.min(first, PAGE); ; limit = PAGE) {
      const overlaid = new Map<number, Slot | undefined>();
      for (const layer of [this.#inFlight, this.#pending])
        for (const [seq, slot] of layer.lanes.get(destination) ?? [])
          if (seq > after) overlaid.set(seq, slot);
      // The iterator takes its snapshot here, in the same breath as the layers above.
      const range = { gt: laneKey(destination, after), lt: laneEnd(destination), limit };
      const rows = await this.#db.iterator(range).all();
      const page = new Map<number, Slot>();
      let last = Number.POSITIVE_INFINITY;
      for (const [key, value] of rows) {
        const { seq } = decodeLaneKey(key)!;
        const slot = slotFrom({ destination, seq }, value);
        if (slot) page.set(seq, slot);
        if (rows.length === limit) last = seq;
      }
      for (const [seq, slot] of overlaid) {
        if (seq > last) continue;
        if (slot) page.set(seq, slot);
        else page.delete(seq);
      }
      yield* [...page.values()].sort((a, b) => a.seq - b.seq);
      if (last === Number.POSITIVE_INFINITY) return;
      after = last;
    }
  }

  audit(id?: string): AsyncGenerator<StoreEvent> {
    return this.#trail.read(this.#db, id);
  }

  /** Resolves when everything changed so far is on the disk. Rejects with LAYBY_STORE_FAILED where a flush failed: the
   *  changes stand all the same and are tried again. */
  flushed(): Promise<void> {
    const waiter = Promise.withResolvers<void>();
    this.#waiting.push(waiter);
    this.#run();
    return waiter.promise;
  }

  /** Something changed that nobody waits for. */
  soon(): void {
    if (this.#pending.ids.size >= DUE) this.#run();
    else this.#timer ??= setTimeout(() => this.#run(), GATHER).unref();
  }

  /** Resolves at once, or when the layers have shrunk; rejects while they cannot be written. */
  room(): Promise<void> | undefined {
    if (this.#pending.ids.size < BOUND) return undefined;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#roomy ??= Promise.withResolvers<void>();
    this.#run();
    return this.#roomy.promise;
  }

  #run(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#wanted = true;
    this.#running ??= this.#loop().finally(() => {
      this.#running = undefined;
      if (this.#wanted) this.#run();
    });
  }

  async #loop(): Promise<void> {
    while (this.#wanted) {
      await afterIo(); // so that all who change something now share the batch
      this.#wanted = false;
      const waiting = this.#waiting;
      this.#waiting = [];
      const dirty = this.#dirty;
      if (dirty) {
        this.#inFlight = this.#pending;
        this.#pending = new Layer();
        this.#marked = false;
        try {
          await this.#write();
        } catch (cause) {
          await this.#failed(cause, waiting);
          return;
        }
        this.#inFlight = new Layer();
        this.#trail.written();
        this.#failure = undefined;
      }
      this.#roomy?.resolve();
      this.#roomy = undefined;
      for (const { resolve } of waiting) resolve();
      if (dirty) this.onFlushed();
    }
  }

  get #dirty(): boolean {
    return this.#marked || this.#pending.ids.size > 0 || this.#trail.waiting > 0;
  }

  async #write(): Promise<void> {
    const batch = this.#db.batch();
    for (const [destination, lane] of this.#inFlight.lanes)
      for (const [seq, slot] of lane) {
        const key = laneKey(destination, seq);
        if (slot) batch.put(key, seal(packSlot(slot)));
        else batch.del(key);
      }
    for (const [id, place] of this.#inFlight.ids) {
      if (place) batch.put(idKey(id), seal(place));
      else batch.del(idKey(id));
    }
    this.#trail.write(batch);
    const watermark: Watermark = { ...this.#watermark, open: this.openWriters() };
    batch.put(WATERMARK_KEY, seal(watermark));
    await batch.write(SYNCED);
  }

  /** A LevelDB that failed once refuses every later write until it is opened again. */
  async #failed(cause: unknown, waiting: PromiseWithResolvers<void>[]): Promise<void> {
    this.#inFlight.cover(this.#pending);
    this.#pending = this.#inFlight;
    this.#inFlight = new Layer();
    this.#trail.failed();
    this.#failure = storeFailed('The index of the store could not be written', cause);
    for (const { reject } of [...waiting, ...this.#waiting.splice(0)]) reject(this.#failure);
    this.#roomy?.reject(this.#failure);
    this.#roomy = undefined;
    try {
      await this.#db.close();
      this.#db = this.#database();
      await this.#db.open();
    } catch {
      // Tried again below, with the flush.
    }
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), RETRY).unref();
  }

  /** Reads through all keys, so that an unreadable table is found before anything relies on it. */
  async verify(): Promise<void> {
    const keys = this.#db.keys();
    try {
      while ((await keys.nextv(1000)).length > 0);
    } finally {
      await keys.close();
    }
  }

  /** Closes without writing. */
  async abandon(): Promise<void> {
    await this.#db.close();
  }

  /** Writes what is left, then closes. */
  async close(): Promise<void> {
    try {
      await this.flushed();
    } finally {
      await this.#running; // after a failure the database is being opened again
      clearTimeout(this.#timer);
      await this.#db.close();
    }
  }
}

const slotFrom = (
  place: { destination: string; seq: number },
  value: string | undefined,
): Slot | undefined => {
  const packed = unseal<PackedSlot>(value);
  return packed && unpackSlot(place, packed);
};
