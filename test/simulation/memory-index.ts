// The index of the memory store: what the Catalog of the LevelDB store asks of its index, with the same moments at which it looks at the
// disk, and the same moments at which a change becomes durable. What has changed since the last flush is known without the disk;
// everything else costs an operation, and the answer is the state at its begin.

import { FlushLoop } from '../../src/store/leveldb/flush-loop.ts';
import { awaited } from '../../src/store/leveldb/resources.ts';
import type { Slot } from '../../src/store/leveldb/slot.ts';
import type { StoreClock } from '../../src/store/leveldb/store-clock.ts';
import type { StoreEvent } from '../../src/store/store.ts';
import type { IndexBatch, MemoryDisk } from './memory-disk.ts';

const PAGE = 256;
/** Rows of one resource that are read at once. */
const FEW = 16;

/** Changes since the last flush. */
class Layer {
  readonly slots = new Map<string, Slot | undefined>();
  readonly progress = new Map<string, unknown>();
  /** Seqs that began or ceased to wait, by resource. */
  readonly touched = new Map<string, Map<number, boolean>>();
  readonly lines: StoreEvent[] = [];
  /** Counters of records that no slot leads to any more. */
  readonly garbage: number[] = [];

  /** Puts newer changes on top. */
  cover(newer: Layer): void {
    for (const [id, slot] of newer.slots) this.slots.set(id, slot);
    for (const [id, value] of newer.progress) this.progress.set(id, value);
    for (const [key, seqs] of newer.touched) for (const [seq, waits] of seqs) this.touch(key, seq, waits);
    this.lines.push(...newer.lines);
    this.garbage.push(...newer.garbage);
  }

  touch(key: string, seq: number, waits: boolean): void {
    const seqs = this.touched.get(key) ?? new Map<number, boolean>();
    this.touched.set(key, seqs);
    seqs.set(seq, waits);
  }
}

const rowOf = (destination: string, sum: number): string => `${sum} ${destination}`;

export interface IndexHost {
  /** An operation of the disk. */
  touch(label: string): Promise<void>;
  /** Writes the batch, or throws. */
  write(batch: IndexBatch): Promise<void>;
  /** After each flush that reached the disk. */
  flushed(): void;
}

export class MemoryIndex {
  readonly #host: IndexHost;
  readonly #clock: StoreClock;
  readonly #disk: MemoryDisk;
  readonly #slots = new Map<string, Slot>();
  readonly #lanes = new Map<string, Map<number, Slot>>();
  /** Seqs that wait, by resource or group. */
  readonly #waiting = new Map<string, Set<number>>();
  readonly #progress: Map<string, unknown>;
  #pending = new Layer();
  #inFlight = new Layer();
  #marked = false;
  #watermark: number;
  readonly #loop = new FlushLoop({
    waiting: () => this.#pending.slots.size,
    dirty: () =>
      this.#marked ||
      this.#pending.slots.size > 0 ||
      this.#pending.lines.length > 0 ||
      this.#pending.progress.size > 0,
    write: () => this.#write(),
    written: () => this.#host.flushed(),
  });

  constructor(host: IndexHost, clock: StoreClock, disk: MemoryDisk) {
    this.#host = host;
    this.#clock = clock;
    this.#disk = disk;
    this.#watermark = disk.watermark;
    this.#progress = new Map(disk.progress);
  }

  /** A slot that was on the disk at the opening. */
  count(slot: Slot): void {
    this.#slots.set(slot.id, slot);
    const lane = this.#lanes.get(slot.destination) ?? new Map<number, Slot>();
    const isOlder = !lane.has(slot.seq) && slot.seq < (lane.size > 0 ? Math.max(...lane.keys()) : 0);
    lane.set(slot.seq, slot);
    // One that moved here comes between the others.
    const sorted = isOlder ? new Map([...lane].sort(([one], [other]) => one - other)) : lane;
    this.#lanes.set(slot.destination, sorted);
    const sum = awaited(slot);
    if (sum === undefined) return;
    const key = rowOf(slot.destination, sum);
    const seqs = this.#waiting.get(key) ?? new Set<number>();
    this.#waiting.set(key, seqs);
    seqs.add(slot.seq);
  }

  #uncount(slot: Slot): void {
    this.#slots.delete(slot.id);
    const sum = awaited(slot);
    if (sum === undefined) return;
    const key = rowOf(slot.destination, sum);
    this.#waiting.get(key)?.delete(slot.seq);
    if (this.#waiting.get(key)?.size === 0) this.#waiting.delete(key);
  }

  #touch(slot: Slot, of: Slot): void {
    const sum = awaited(of);
    if (sum === undefined) return;
    const waits = this.#slots.has(slot.id) && awaited(this.#slots.get(slot.id)!) === sum;
    this.#pending.touch(rowOf(of.destination, sum), of.seq, waits);
  }

  put(slot: Slot, before?: Slot): void {
    if (before) this.#uncount(before);
    if (before && before.destination !== slot.destination)
      this.#lanes.get(before.destination)?.delete(before.seq);
    if (before && before.at.counter !== slot.at.counter) this.#pending.garbage.push(before.at.counter);
    this.count(slot);
    this.#pending.slots.set(slot.id, slot);
    if (before?.destination === slot.destination && awaited(slot) === awaited(before)) return;
    this.#touch(slot, slot);
    if (before) this.#touch(slot, before);
  }

  remove(slot: Slot): void {
    this.#uncount(slot);
    this.#pending.garbage.push(slot.at.counter);
    this.#lanes.get(slot.destination)?.delete(slot.seq);
    this.#pending.slots.set(slot.id, undefined);
    this.#touch(slot, slot);
  }

  has(id: string): boolean {
    return this.#slots.has(id);
  }

  get size(): number {
    return this.#slots.size;
  }

  /** As it is now, without the disk. */
  now(id: string): Slot | undefined {
    return this.#slots.get(id);
  }

  /** Whether it is known without the disk. */
  #isHot(id: string): boolean {
    return this.#pending.slots.has(id) || this.#inFlight.slots.has(id);
  }

  async find(id: string): Promise<Slot | undefined> {
    if (this.#isHot(id)) return this.#slots.get(id);
    const place = this.#slots.get(id);
    await this.#host.touch('find id');
    return place && this.#slotAt(id);
  }

  async #slotAt(id: string): Promise<Slot | undefined> {
    const slot = this.#slots.get(id);
    if (!this.#isHot(id)) await this.#host.touch('find slot');
    return slot;
  }

  /** One lane in seq order, page by page; each page is the state of one moment. */
  async *lane(destination: string, after = 0, first = PAGE): AsyncGenerator<Slot> {
    for (let limit = Math.min(first, PAGE); ; limit = PAGE) {
      const page: Slot[] = [];
      for (const slot of this.#lane(destination, after)) {
        page.push(slot);
        if (page.length === limit) break;
      }
      await this.#host.touch('list');
      yield* page;
      if (page.length < limit) return;
      after = page.at(-1)!.seq;
    }
  }

  *#lane(destination: string, after: number): Generator<Slot> {
    for (const slot of this.#lanes.get(destination)?.values() ?? []) if (slot.seq > after) yield slot;
  }

  /** The slots that wait for a resource, or in a group, the newest first. */
  async *resource(destination: string, sum: number): AsyncGenerator<Slot> {
    let before = Number.POSITIVE_INFINITY;
    for (;;) {
      const seqs = [...(this.#waiting.get(rowOf(destination, sum)) ?? [])]
        .filter((seq) => seq < before)
        .sort((one, other) => other - one)
        .slice(0, FEW);
      await this.#host.touch('list resource');
      for (const seq of seqs) {
        const there = this.#lanes.get(destination)?.get(seq);
        const slot = there && (await this.#slotAt(there.id));
        if (slot && awaited(slot) === sum) yield slot;
      }
      if (seqs.length < FEW) return;
      before = seqs.at(-1)!;
    }
  }

  hasJustLeft(destination: string, sum: number): boolean {
    const key = rowOf(destination, sum);
    return [this.#pending, this.#inFlight].some((layer) =>
      [...(layer.touched.get(key)?.values() ?? [])].includes(false),
    );
  }

  mayWait(destination: string, sum: number): boolean {
    return this.#waiting.has(rowOf(destination, sum)) || this.hasJustLeft(destination, sum);
  }

  /** Slots whose time to live is over, the longest overdue first, as far as the disk has them. */
  async *expired(): AsyncGenerator<Slot> {
    const now = this.#clock.now();
    const due = [...this.#disk.slots.values()]
      .filter(({ expiry }) => expiry && expiry.at <= now)
      .sort((one, other) => one.expiry!.at - other.expiry!.at || one.seq - other.seq);
    await this.#host.touch('list expired');
    for (const { id, expiry } of due) {
      const slot = await this.find(id);
      const runs = slot && awaited(slot) !== undefined;
      if (runs && slot.expiry?.at === expiry!.at) yield slot;
    }
  }

  record(event: StoreEvent): void {
    this.#pending.lines.push(event);
  }

  async *audit({ id, url }: { id?: string; url?: string }): AsyncGenerator<StoreEvent> {
    const lines = [...this.#disk.lines, ...this.#inFlight.lines, ...this.#pending.lines];
    const ids = new Set(id === undefined ? [] : [id]);
    await this.#host.touch('read trail');
    for (const line of lines) {
      if (url !== undefined && line.url?.includes(url)) ids.add(line.id);
      if ((id === undefined && url === undefined) || ids.has(line.id)) yield line;
    }
  }

  /** Grows with each note of progress, of any entry. */
  progressNotes = 0;

  setProgress(id: string, value: unknown): void {
    this.progressNotes += 1;
    if (value === undefined && !this.#progress.delete(id)) return;
    if (value !== undefined) this.#progress.set(id, value);
    this.#pending.progress.set(id, value);
  }

  async progressOf(id: string): Promise<unknown> {
    const value = this.#progress.get(id);
    if (value === undefined) return undefined;
    if (!this.#pending.progress.has(id) && !this.#inFlight.progress.has(id))
      await this.#host.touch('read progress');
    return structuredClone(value);
  }

  get begun(): string[] {
    return [...this.#progress.keys()];
  }

  /** Records up to this counter are in the index. */
  mark(counter: number): void {
    this.#watermark = Math.max(this.#watermark, counter);
    this.#marked = true;
  }

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

  async #write(): Promise<void> {
    this.#inFlight = this.#pending;
    this.#pending = new Layer();
    this.#marked = false;
    const { slots, progress, lines, garbage } = this.#inFlight;
    const watermark = this.#watermark;
    const reading = this.#clock.reading();
    try {
      await this.#host.write({ slots, progress, lines, garbage, watermark, reading });
    } catch (cause) {
      this.#inFlight.cover(this.#pending);
      this.#pending = this.#inFlight;
      this.#inFlight = new Layer();
      throw cause;
    }
    this.#inFlight = new Layer();
  }

  async close(): Promise<void> {
    try {
      await this.flushed();
    } finally {
      await this.#loop.stop();
    }
  }
}
