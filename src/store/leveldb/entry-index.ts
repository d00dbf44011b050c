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
import type { Cipher } from './cipher.ts';
import { SYNCED } from './generation.ts';
import { decodeExpiryKey, decodeLaneKey, expiryKey, idKey, laneEnd, laneKey, WATERMARK_KEY } from './keys.ts';
import { storeFailed } from './level-errors.ts';
import { LogNames } from './log-names.ts';
import { seal, sealSecret, unseal, unsealText } from './sealed-json.ts';
import { type PackedSlot, packSlot, type Slot, unpackSlot } from './slot.ts';
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

/** Without someone waiting a flush may gather this long, ms: a crash leaves that much to be indexed again. */
const GATHER = 100;
/** Slots that make a flush due at once, and that stop the commits until it is done. */
const DUE = 2048;
const BOUND = 8192;
const RETRY = 1000;
/** The store's time goes to the disk at least so often while times to live run, ms: a power cut forgets that much. */
const TICK = 60_000;
const PAGE = 256;
/** Rows read in one go where all of them are. */
const ROWS = 1000;
/** Twice LevelDB's default: small entries then cost LevelDB an eighth less CPU, since tables are merged half as often. */
const WRITE_BUFFER = 8 * 1024 * 1024;

class Layer {
  readonly lanes = new Map<string, Map<number, Slot | undefined>>();
  readonly ids = new Map<string, { destination: string; seq: number } | undefined>();
  /** Of entries whose time to live runs: the id; undefined for one whose time runs no more. */
  readonly expiries = new Map<string, string | undefined>();

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
    for (const [key, id] of newer.expiries) this.expiries.set(key, id);
  }
}

const runningKey = ({ state, seq, expiry }: Slot): string | undefined =>
  state === 'stored' && expiry ? expiryKey(expiry.at, seq) : undefined;

export class EntryIndex {
  readonly #dir: string;
  readonly #trail: AuditTrail;
  readonly #cipher: Cipher | undefined;
  readonly #logs: LogNames;
  #db: Level<string, string>;
  #pending = new Layer();
  #inFlight = new Layer();
  readonly #tally = new Tally();
  /** As they were at the opening. */
  readonly #ids = { sound: 0, damaged: 0 };
  #flush = 0;
  #watermark: Position = { seq: 0, generation: 0, counter: 0 };
  #marked = false;
  readonly #clock: StoreClock;
  #ticked = Number.NEGATIVE_INFINITY;
  /** No entry's time is over before; what stands there are the graves of those that have left. */
  #expiryFloor = 0;
  #waiting: PromiseWithResolvers<void>[] = [];
  #roomy: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;
  /** LevelDB refuses every write since one failed; reads go on. */
  #broken = false;
  /** Writers with chunks on the disk, asked for when a watermark is written. */
  openWriters: () => number[] = () => [];
  /** Called after each flush that reached the disk. */
  onFlushed: (flush: number) => void = () => {};
  /** Asked before a database that failed is closed and opened: on a full disk it could not be opened, nor be read any more. */
  mayReopen: () => Promise<boolean> = async () => true;

  private constructor(dir: string, clock: StoreClock, cipher: Cipher | undefined) {
    this.#dir = dir;
    this.#cipher = cipher;
    this.#trail = new AuditTrail(cipher);
    this.#clock = clock;
    this.#logs = new LogNames(dir, WRITE_BUFFER);
    this.#db = this.#database();
  }

  #database(): Level<string, string> {
    const options = { compression: false, cacheSize: 4 * 1024 * 1024, writeBufferSize: WRITE_BUFFER };
    return new Level<string, string>(this.#dir, options);
  }

  /** Throws what LevelDB throws: see level-errors.ts. */
  static async open(dir: string, clock: StoreClock, cipher?: Cipher): Promise<EntryIndex> {
    const index = new EntryIndex(dir, clock, cipher);
    await index.#db.open();
    try {
      await index.#logs.opened();
      await index.#trail.load(index.#db);
      return index;
    } catch (cause) {
      await index.#db.close();
      throw cause;
    }
  }

  /** Flushes are numbered on from there, and from `flush` at least. */
  async readWatermark(flush = 0): Promise<Watermark | undefined> {
    const watermark = unseal<Watermark>(await this.#db.get(WATERMARK_KEY), WATERMARK_KEY);
    this.#flush = Math.max(flush, watermark?.flush ?? 0);
    return watermark;
  }

  /** Every slot on the disk, by lane and seq; only its key where the value is damaged. For opening, before any change. */
  async *slots(): AsyncGenerator<{ destination: string; seq: number; slot: Slot | undefined }> {
    for await (const page of this.#rows({ gt: 'l/', lt: 'l0' }))
      for (const [key, value] of page) {
        const place = decodeLaneKey(key);
        if (place) yield { ...place, slot: this.#slotFrom(place, value) };
      }
  }

  /** A slot that was on the disk at the opening. */
  count(slot: Slot): void {
    this.#tally.add(slot);
  }

  /** Whether what was counted is what was written, and each slot is found by its id. */
  isSound({ tally }: Watermark): boolean {
    if (tally && !this.#tally.is(tally)) return false;
    const [slots] = this.#tally.sum;
    return this.#ids.damaged === 0 && this.#ids.sound === slots;
  }

  /** Writes a slot and its id anew, as they are. */
  rewrite(slot: Slot): void {
    this.#pending.set(slot.destination, slot.seq, slot.id, slot);
    const key = runningKey(slot);
    if (key) this.#pending.expiries.set(key, slot.id);
  }

  /** Ids that lead to no slot of theirs go. For opening. */
  async dropStrayIds(isAt: (id: string, seq: number) => boolean): Promise<void> {
    for await (const [key, value] of this.#db.iterator({ gt: 'i/', lt: 'i0' })) {
      const id = key.slice(idKey('').length);
      const place = unseal<{ seq: number }>(value, key);
      if ((!place || !isAt(id, place.seq)) && !this.#pending.ids.has(id))
        this.#pending.ids.set(id, undefined);
    }
  }

  /** `before`: the slot as it was. */
  put(slot: Slot, before?: Slot): void {
    if (before) this.#tally.remove(before);
    this.#tally.add(slot);
    this.#pending.set(slot.destination, slot.seq, slot.id, slot);
    const key = runningKey(slot);
    const was = before && runningKey(before);
    if (key === was) return;
    if (was) this.#pending.expiries.set(was, undefined);
    if (!key) return;
    this.#pending.expiries.set(key, slot.id);
    this.#expiryFloor = Math.min(this.#expiryFloor, slot.expiry!.at);
  }

  remove(slot: Slot): void {
    this.#tally.remove(slot);
    this.#pending.set(slot.destination, slot.seq, slot.id, undefined);
    const key = runningKey(slot);
    if (key) this.#pending.expiries.set(key, undefined);
  }

  /** Slots whose time to live is over, by when it was; those of the last moments (a flush behind) come with the next call. */
  async *expired(): AsyncGenerator<Slot> {
    const now = this.#clock.now();
    let floor = now + 1;
    for (const layer of [this.#inFlight, this.#pending])
      for (const [key, id] of layer.expiries) if (id) floor = Math.min(floor, decodeExpiryKey(key));
    const range = { gte: expiryKey(this.#expiryFloor, 0), lt: expiryKey(now + 1, 0) };
    this.#expiryFloor = floor; // what is put meanwhile lowers it
    try {
      for await (const [key, id] of this.#db.iterator(range)) {
        floor = decodeExpiryKey(key);
        const slot = await this.find(id);
        // The key has no checksum, the slot has: only where they agree has its time come.
        if (!slot || runningKey(slot) !== key) continue;
        this.#expiryFloor = Math.min(this.#expiryFloor, floor);
        yield slot;
      }
      floor = now + 1;
    } finally {
      this.#expiryFloor = Math.min(this.#expiryFloor, floor);
    }
    if (now - this.#ticked >= TICK) {
      this.#marked = true;
      this.soon();
    }
  }

  /** A slot that cannot be read and whose entry was not found again. */
  forget(destination: string, seq: number): void {
    this.#pending.set(destination, seq, '', undefined);
  }

  record(event: StoreEvent): void {
    this.#trail.append(event);
  }

  mark(watermark: Position): void {
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
    const key = idKey(id);
    const place = unseal<{ destination: string; seq: number }>(await this.#db.get(key), key);
    if (!place) return undefined;
    for (const layer of [this.#pending, this.#inFlight]) {
      const lane = layer.lanes.get(place.destination);
      if (lane?.has(place.seq)) return lane.get(place.seq);
    }
    return this.#slotFrom(place, await this.#db.get(laneKey(place.destination, place.seq)));
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
        const slot = this.#slotFrom({ destination, seq }, value);
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

  /** The last line of each entry in the audit trail, by seq. For opening. */
  async fates(): Promise<Map<number, StoreEvent>> {
    const fates = new Map<number, StoreEvent>();
    for await (const event of this.#trail.read(this.#db, {})) fates.set(event.seq, event);
    return fates;
  }

  audit(of: { id?: string; url?: string }): AsyncGenerator<StoreEvent> {
    return this.#trail.read(this.#db, of);
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
      if (dirty) this.onFlushed(this.#flush);
    }
  }

  get #dirty(): boolean {
    return this.#marked || this.#pending.ids.size > 0 || this.#trail.waiting > 0;
  }

  async #write(): Promise<void> {
    if (this.#broken) await this.#reopen();
    const batch = this.#db.batch();
    let bytes = 0;
    const put = (key: string, value: string): void => {
      batch.put(key, value);
      bytes += key.length + value.length;
    };
    const del = (key: string): void => {
      batch.del(key);
      bytes += key.length;
    };
    for (const [destination, lane] of this.#inFlight.lanes)
      for (const [seq, slot] of lane) {
        const key = laneKey(destination, seq);
        if (slot) put(key, this.#sealSlot(key, slot));
        else del(key);
      }
    for (const [id, place] of this.#inFlight.ids) {
      const key = idKey(id);
      if (place) put(key, seal(place, key));
      else del(key);
    }
    for (const [key, id] of this.#inFlight.expiries) {
      if (id === undefined) del(key);
      else put(key, id);
    }
    this.#trail.write({ put, del });
    const time = this.#clock.reading();
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
  async #failed(cause: unknown, waiting: PromiseWithResolvers<void>[]): Promise<void> {
    this.#inFlight.cover(this.#pending);
    this.#pending = this.#inFlight;
    this.#inFlight = new Layer();
    this.#trail.failed();
    this.#failure = storeFailed('The index of the store could not be written', cause);
    for (const { reject } of [...waiting, ...this.#waiting.splice(0)]) reject(this.#failure);
    this.#roomy?.reject(this.#failure);
    this.#roomy = undefined;
    this.#broken = true;
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), RETRY).unref();
  }

  async #reopen(): Promise<void> {
    if (this.#db.status === 'open' && !(await this.mayReopen()))
      throw new Error('the disk has no room to open it again');
    await this.#db.close();
    this.#db = this.#database();
    await this.#db.open();
    await this.#logs.opened();
    this.#broken = false;
  }

  /** Reads through all keys, so that an unreadable table is found before anything relies on it; and what ids lead to. */
  async verify(): Promise<void> {
    for (const range of [{ lt: 'i/' }, { gt: 'i0' }]) {
      const keys = this.#db.keys(range);
      try {
        while ((await keys.nextv(ROWS)).length > 0);
      } finally {
        await keys.close();
      }
    }
    for await (const page of this.#rows({ gt: 'i/', lt: 'i0' }))
      for (const [key, value] of page)
        if (unsealText(value, key) === undefined) this.#ids.damaged++;
        else this.#ids.sound++;
  }

  /** An iterator's own loop costs more for each row than LevelDB does. */
  async *#rows(range: { gt: string; lt: string }): AsyncGenerator<[key: string, value: string][]> {
    // Of LevelDB, which would stop a page at 16 KiB.
    const options: object = { highWaterMarkBytes: 1024 * 1024 };
    const rows = this.#db.iterator({ ...range, ...options });
    try {
      for (;;) {
        const page = await rows.nextv(ROWS);
        if (page.length === 0) return;
        yield page;
      }
    } finally {
      await rows.close();
    }
  }

  /** The words of servers are not for everyone; most slots have none. */
  #sealSlot(key: string, slot: Slot): string {
    const secret = slot.lastError !== undefined || slot.reason !== undefined;
    return secret ? sealSecret(packSlot(slot), key, this.#cipher) : seal(packSlot(slot), key);
  }

  #slotFrom(place: { destination: string; seq: number }, value: string | undefined): Slot | undefined {
    const packed = unseal<PackedSlot>(value, laneKey(place.destination, place.seq), this.#cipher);
    return packed && unpackSlot(place, packed);
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
