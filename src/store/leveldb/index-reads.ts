// How the index is read: what is not on the disk yet lies over what is, newest first. entry-index.ts says how both come about.

import type { Level } from 'level';
import type { StoreEvent } from '../store.ts';
import { AuditTrail } from './audit-trail.ts';
import type { Cipher } from './cipher.ts';
import { SYNCED } from './generation.ts';
import { Layer, runningKey } from './index-layers.ts';
import {
  decodeExpiryKey,
  decodeLaneKey,
  expiryKey,
  idKey,
  isKey,
  laneEnd,
  laneKey,
  rowKey,
  rowsOf,
  seqOfRow,
} from './keys.ts';
import { ProgressRows } from './progress.ts';
import { awaited } from './resources.ts';
import { unseal, unsealText } from './sealed-json.ts';
import { type PackedSlot, type Slot, unpackSlot } from './slot.ts';
import type { StoreClock } from './store-clock.ts';

const PAGE = 256;
/** Rows of one resource that are read at once: most callers want the newest alone. */
const FEW = 16;
/** Rows read in one go where all of them are. */
const ROWS = 1000;

export abstract class IndexReads {
  protected abstract db: Level<string, string>;
  protected readonly cipher: Cipher | undefined;
  protected readonly clock: StoreClock;
  protected readonly trail: AuditTrail;
  protected readonly progress: ProgressRows;
  protected pending = new Layer();
  protected inFlight = new Layer();
  /** As they were at the opening. */
  protected readonly ids = { sound: 0, damaged: 0 };
  /** Of which kinds (their first letter) there were keys, at the opening, that nobody wrote: the disk gave another than it was given. */
  protected readonly foreign = new Set<string>();
  /** No entry's time is over before; what stands there are the graves of those that have left. */
  protected expiryFloor = 0;

  protected constructor(clock: StoreClock, cipher: Cipher | undefined) {
    this.clock = clock;
    this.cipher = cipher;
    this.trail = new AuditTrail(cipher);
    this.progress = new ProgressRows(cipher);
  }

  /** The times to live were looked at, and no entry's is over. */
  protected abstract ticked(now: number): void;

  /** Every slot on the disk, by lane and seq; only its key where the value is damaged. For opening, before any change. */
  async *slots(): AsyncGenerator<{ destination: string; seq: number; slot: Slot | undefined }> {
    for await (const page of this.#rows({ gte: 'l/', lt: 'l0' }))
      for (const [key, value] of page) {
        const place = decodeLaneKey(key);
        yield { ...place, slot: this.#slotFrom(place, value) };
      }
  }

  /** Slots whose time to live is over, by when it was; those of the last moments (a flush behind) come with the next call. */
  async *expired(): AsyncGenerator<Slot> {
    const now = this.clock.now();
    let floor = now + 1;
    for (const layer of [this.inFlight, this.pending])
      for (const [key, id] of layer.expiries) if (id) floor = Math.min(floor, decodeExpiryKey(key));
    const range = { gte: expiryKey(this.expiryFloor, 0), lt: expiryKey(now + 1, 0) };
    this.expiryFloor = floor; // what is put meanwhile lowers it
    try {
      for await (const [key, id] of this.db.iterator(range)) {
        floor = decodeExpiryKey(key);
        const slot = await this.find(id);
        // The key has no checksum, the slot has: only where they agree has its time come.
        if (!slot || runningKey(slot) !== key) continue;
        this.expiryFloor = Math.min(this.expiryFloor, floor);
        yield slot;
      }
      floor = now + 1;
    } finally {
      this.expiryFloor = Math.min(this.expiryFloor, floor);
    }
    this.ticked(now);
  }

  /** Whether the id is taken now. Synchronous (0.3 µs), so nothing can come between the answer and what follows from it. */
  has(id: string): boolean {
    for (const layer of [this.pending, this.inFlight])
      if (layer.ids.has(id)) return layer.ids.get(id) !== undefined;
    return this.db.status === 'open' && this.db.getSync(idKey(id)) !== undefined;
  }

  async find(id: string): Promise<Slot | undefined> {
    for (const layer of [this.pending, this.inFlight])
      if (layer.ids.has(id)) {
        const place = layer.ids.get(id);
        return place && layer.lanes.get(place.destination)!.get(place.seq);
      }
    const key = idKey(id);
    const place = unseal<{ destination: string; seq: number }>(await this.db.get(key), key);
    if (!place) return undefined;
    return this.#slotAt(place.destination, place.seq);
  }

  /** One lane in seq order, page by page; each page is the state of one moment. */
  async *lane(destination: string, after = 0, first = PAGE): AsyncGenerator<Slot> {
    for (let limit = Math.min(first, PAGE); ; limit = PAGE) {
      const overlaid = new Map<number, Slot | undefined>();
      for (const layer of [this.inFlight, this.pending])
        for (const [seq, slot] of layer.lanes.get(destination) ?? [])
          if (seq > after) overlaid.set(seq, slot);
      // The iterator takes its snapshot here, in the same breath as the layers above.
      const range = { gt: laneKey(destination, after), lt: laneEnd(destination), limit };
      const rows = await this.db.iterator(range).all();
      const page = new Map<number, Slot>();
      let last = Number.POSITIVE_INFINITY;
      for (const [key, value] of rows) {
        const { seq } = decodeLaneKey(key);
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

  /** What waits for a resource (its sum), the newest first. */
  async *resource(destination: string, sum: number): AsyncGenerator<Slot> {
    const rows = rowsOf(destination, sum);
    let before = Number.MAX_SAFE_INTEGER;
    for (;;) {
      const seqs = new Set<number>();
      for (const layer of [this.inFlight, this.pending])
        for (const seq of layer.resources.of(destination, sum)) if (seq < before) seqs.add(seq);
      const range = { gt: rows, lt: rowKey(destination, sum, before), reverse: true, limit: FEW };
      const keys = await this.db.keys(range).all();
      const last = keys.length === FEW ? seqOfRow(keys.at(-1)!) : 0;
      for (const key of keys) seqs.add(seqOfRow(key));
      for (const seq of [...seqs].sort((a, b) => b - a)) {
        if (seq < last) break;
        const slot = await this.#slotAt(destination, seq);
        if (slot && awaited(slot) === sum) yield slot;
      }
      if (last === 0) return;
      before = last;
    }
  }

  /** Of a resource (its sum) something has left, and the disk does not know it yet. */
  hasJustLeft(destination: string, sum: number): boolean {
    return [this.pending, this.inFlight].some((layer) =>
      layer.resources.of(destination, sum).some((seq) => !layer.waits(destination, sum, seq)),
    );
  }

  async #slotAt(destination: string, seq: number): Promise<Slot | undefined> {
    for (const layer of [this.pending, this.inFlight]) {
      const lane = layer.lanes.get(destination);
      if (lane?.has(seq)) return lane.get(seq);
    }
    return this.#slotFrom({ destination, seq }, await this.db.get(laneKey(destination, seq)));
  }

  /** The last line of each entry in the audit trail, by seq. For opening. */
  async fates(): Promise<Map<number, StoreEvent>> {
    const fates = new Map<number, StoreEvent>();
    for await (const event of this.trail.read(this.db, {}))
      if (event.kind !== 'edited' && event.kind !== 'moved') fates.set(event.seq, event); // it is as dead as before
    return fates;
  }

  audit(of: { id?: string; url?: string }): AsyncGenerator<StoreEvent> {
    return this.trail.read(this.db, of);
  }

  progressOf(id: string): Promise<unknown> {
    return this.progress.get(this.db, id);
  }

  /** Grows with each note of progress, of any entry. */
  get progressNotes(): number {
    return this.progress.notes;
  }

  /** Those that have progress. */
  get begun(): string[] {
    return [...this.progress.ids];
  }

  /** Counts what ids lead to, and keys that nobody wrote, which go. For opening, before anything else reads them. */
  protected async verify(): Promise<void> {
    for (const range of [{ lt: 'i/' }, { gt: 'i0' }]) {
      const keys = this.db.keys(range);
      try {
        for (let page = await keys.nextv(ROWS); page.length > 0; page = await keys.nextv(ROWS))
          for (const key of page) this.#look(key);
      } finally {
        await keys.close();
      }
    }
    for await (const page of this.#rows({ gte: 'i/', lt: 'i0' }))
      for (const [key, value] of page)
        if (unsealText(value, key) !== undefined) this.ids.sound++;
        else {
          this.ids.damaged++;
          this.#look(key);
        }
    if (this.foreign.size > 0) await this.#dropForeign();
  }

  #look(key: string): void {
    if (!isKey(key)) this.foreign.add(key[0]!);
  }

  /** By their bytes: what is no UTF-8 is another key as text. */
  async #dropForeign(): Promise<void> {
    const bytes = { keyEncoding: 'buffer' } as const;
    for await (const key of this.db.keys<Buffer>(bytes))
      if (!isKey(key.toString('latin1'))) await this.db.del<Buffer>(key, { ...bytes, ...SYNCED });
  }

  /** An iterator's own loop costs more for each row than LevelDB does. */
  async *#rows(range: { gte: string; lt: string }): AsyncGenerator<[key: string, value: string][]> {
    // Of LevelDB, which would stop a page at 16 KiB.
    const options: object = { highWaterMarkBytes: 1024 * 1024 };
    const rows = this.db.iterator({ ...range, ...options });
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

  #slotFrom(place: { destination: string; seq: number }, value: string | undefined): Slot | undefined {
    const packed = unseal<PackedSlot>(value, laneKey(place.destination, place.seq), this.cipher);
    return packed && unpackSlot(place, packed);
  }
}
