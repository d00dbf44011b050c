// What the store knows of its entries, changed in one place: a change reaches the index, the totals, the live bytes of the
// generations and the audit trail in one turn of the event loop, so no reader sees half of it. Also tells the listeners.

import { LaybyError } from '../../telemetry/error.ts';
import type {
  Damage,
  Entry,
  EntryBrief,
  EntryState,
  InFlight,
  StoreEvent,
  StoreEventKind,
} from '../store.ts';
import { tryHasLine } from './audit-trail.ts';
import { readRecords } from './body-reader.ts';
import type { EntryIndex } from './entry-index.ts';
import type { EntryRecord } from './entry-record.ts';
import type { Generations } from './generations.ts';
import { KeyedLock } from './keyed-lock.ts';
import { LaneTotals } from './lane-totals.ts';
import { resourceSum } from './resources.ts';
import { heldBytes, type Slot } from './slot.ts';
import type { StoreClock } from './store-clock.ts';

export interface Change {
  /** undefined: the entry leaves. */
  now: Slot | undefined;
  event?: { kind: StoreEventKind; detail?: string };
}

interface Altered {
  slot: Slot;
  now: Slot | undefined;
  event: StoreEvent | undefined;
}

/** Entries quarantined at once, so that they share a flush. */
const TOGETHER = 256;
/** Events of which listeners hear in the turn of the change, before the disk has it: a delivery that began afterwards with the head
 *  as it was would send what is not stored any more. */
const HEAD_CHANGED: ReadonlySet<StoreEventKind> = new Set(['edited', 'moved']);
/** Of the error of the try before, in the line of a try, characters: the entry has all of it. */
const ERROR_KEPT = 200;

export class Catalog {
  readonly index: EntryIndex;
  readonly generations: Generations;
  readonly totals: LaneTotals;
  readonly clock: StoreClock;
  /** Told about each entry that is found damaged, once. */
  damaged: (found: Damage) => void = () => {};
  readonly #locks = new KeyedLock();
  readonly #tell: (event: StoreEvent) => void;
  readonly #isInFlight: InFlight;

  constructor(
    index: EntryIndex,
    generations: Generations,
    clock: StoreClock,
    tell: (event: StoreEvent) => void,
    isInFlight: InFlight,
  ) {
    this.index = index;
    this.clock = clock;
    this.generations = generations;
    this.totals = new LaneTotals((destination, after) => index.lane(destination, after, 1));
    this.#tell = tell;
    this.#isInFlight = isInFlight;
  }

  /** Counts what the index already holds. */
  count(slot: Slot): void {
    this.totals.change(undefined, slot);
    this.generations.count(slot, 1);
  }

  /** A new entry, committed; synchronous. With its record it is announced. */
  add(slot: Slot, record: EntryRecord | undefined): void {
    this.count(slot);
    this.index.put(slot);
    if (!record) return;
    const { method, url } = record.head;
    const event = { ...this.#eventOf(slot, 'stored'), method, url };
    this.index.record(event);
    this.#tell(event);
  }

  /** A try of an entry that waits has begun. */
  sent(entry: Entry): void {
    const number = entry.attempts + 1;
    const before = entry.lastError?.slice(0, ERROR_KEPT);
    const detail = before === undefined ? `try ${number}` : `try ${number}, after: ${before}`;
    const event = this.#eventOf(entry, 'sent', detail);
    if (tryHasLine(number)) {
      this.index.record(event);
      this.index.soon();
    }
    this.#tell(event);
  }

  /** It left since it is a part of another entry now; synchronous, and only while the caller keeps it from changing. */
  leave(slot: Slot, into: string): void {
    this.#apply(slot, undefined);
    const event = this.#eventOf(slot, 'composed', `into ${into}`);
    this.index.record(event);
    this.#tell(event);
  }

  /** Nothing changes these entries while `task` runs. */
  unchanged<T>(ids: readonly string[], task: () => Promise<T>): Promise<T> {
    return this.#locks.runAll(ids, task);
  }

  /** Decides with the present slot, one at a time for each entry; undefined from `decide` leaves all as it is. Resolves with
   *  the slot as it then is or last was, when the change is durable. Rejects with LAYBY_STORE_FAILED where it is not yet:
   *  it stands all the same, and is tried again. */
  async change(id: string, decide: (slot: Slot) => Change | undefined): Promise<Slot | undefined> {
    const done = await this.#alter(id, decide);
    if (!done) return undefined;
    const { slot, now } = done;
    // A new head is told in the turn of the change: see `#alter`.
    const event = done.event && !HEAD_CHANGED.has(done.event.kind) ? done.event : undefined;
    try {
      await Promise.all([this.index.flushed(), this.totals.settle(slot)]);
    } catch (cause) {
      // The change stands: who listens is told as soon as it is durable.
      if (event) this.index.afterFlush(() => this.#tell(event));
      throw cause;
    }
    if (event) this.#tell(event);
    return now ?? slot;
  }

  #alter(id: string, decide: (slot: Slot) => Change | undefined): Promise<Altered | undefined> {
    return this.#locks.run(id, async () => {
      const slot = await this.index.find(id);
      const change = slot && decide(slot);
      if (!change) return undefined;
      this.#apply(slot, change.now);
      const event = change.event && this.#eventOf(change.now ?? slot, change.event.kind, change.event.detail);
      if (event && slot.destination !== event.destination) event.from = slot.destination;
      if (event) this.index.record(event);
      if (event && HEAD_CHANGED.has(event.kind)) this.#tell(event);
      return { slot, now: change.now, event };
    });
  }

  #apply(before: Slot, now: Slot | undefined): void {
    if (now) this.index.put(now, before);
    else this.index.remove(before);
    this.totals.change(before, now);
    this.generations.count(before, -1);
    if (now) this.generations.count(now, 1);
  }

  /** Its bytes are damaged: it is kept, and never sent. */
  async quarantine(id: string, reason: string): Promise<Slot | undefined> {
    const slot = await this.#quarantine(id, reason);
    if (slot) this.damaged({ id, seq: slot.seq, reason });
    return slot;
  }

  async #quarantine(id: string, reason: string): Promise<Slot | undefined> {
    try {
      return await this.change(id, (slot) =>
        slot.state === 'quarantined'
          ? undefined
          : {
              now: { ...slot, state: 'quarantined', reason },
              event: { kind: 'quarantined', detail: reason },
            },
      );
    } catch (cause) {
      // It stands, and is not sent. After a crash before it is durable the damage is found again.
      if (cause instanceof LaybyError && cause.code === 'LAYBY_STORE_FAILED') return this.index.find(id);
      throw cause;
    }
  }

  /** Reads the records in a generation that may have lost some; what cannot be read is quarantined. */
  async checkRecords(number: number): Promise<void> {
    for (const destination of this.totals.destinations) {
      let page: Slot[] = [];
      const check = async (): Promise<void> => {
        const slots = page;
        page = [];
        const records = await readRecords(this.generations, slots);
        const lost = slots.flatMap(({ id }, i) => {
          const record = records[i];
          return typeof record === 'object'
            ? []
            : this.quarantine(id, record ?? 'the entry record is missing');
        });
        await Promise.all(lost);
      };
      for await (const slot of this.index.lane(destination)) {
        if (slot.state === 'quarantined' || slot.at.generation !== number) continue;
        page.push(slot);
        if (page.length === TOGETHER) await check();
      }
      await check();
    }
  }

  /** Gives slots of an older format the resource that only their record says. For opening. */
  async sortByResource(): Promise<void> {
    for (const destination of this.totals.destinations) {
      let page: Slot[] = [];
      const sort = async (): Promise<void> => {
        const slots = page;
        page = [];
        const records = await readRecords(this.generations, slots);
        for (const [i, before] of slots.entries()) {
          const record = records[i];
          if (typeof record !== 'object') continue; // found again, with its reason, when it is to be sent
          this.index.put({ ...before, resource: resourceSum(record.head.url) }, before);
        }
        await this.index.room();
      };
      for await (const slot of this.index.lane(destination)) {
        if (slot.state === 'quarantined' || slot.resource !== undefined) continue;
        page.push(slot);
        if (page.length === TOGETHER) await sort();
      }
      await sort();
    }
  }

  /** Quarantines all that has bytes in a generation that is lost; calls `each` for every one. */
  async loseGeneration(number: number, reason: string, each?: (slot: Slot) => void): Promise<void> {
    const together: Promise<void>[] = [];
    for (const destination of this.totals.destinations)
      for await (const slot of this.index.lane(destination)) {
        if (slot.state === 'quarantined' || !slot.parts.some(([part]) => part === number)) continue;
        together.push(this.#quarantine(slot.id, reason).then((done) => done && each?.(slot)));
        if (together.length === TOGETHER) await Promise.all(together.splice(0));
      }
    await Promise.all(together);
  }

  #eventOf(
    { id, seq, destination, bytes }: Pick<Slot, 'id' | 'seq' | 'destination' | 'bytes'>,
    kind: StoreEventKind,
    detail?: string,
  ): StoreEvent {
    const at = this.clock.boot.wall();
    return { kind, id, seq, destination, bytes, at, ...(detail !== undefined && { detail }) };
  }

  /** For the rules that let entries go. */
  brief(slot: Slot): EntryBrief {
    const { id, seq, destination, class: cls, expiry } = slot;
    const held = heldBytes(slot);
    return {
      id,
      seq,
      destination,
      class: cls,
      state: this.stateOf(slot),
      held,
      ...(expiry && { ttl: expiry.ttl }),
    };
  }

  stateOf(slot: Slot): EntryState {
    return slot.state === 'stored' && this.#isInFlight(slot.id) ? 'sending' : slot.state;
  }

  /** As the contract shows it. Of an entry whose record is lost only the slot is known. */
  entry(slot: Slot, record: EntryRecord | undefined): Entry {
    const { id, seq, bytes, destination, receivedAt, attempts, lastError, stuck, reason, answer } = slot;
    const head = record?.head ?? {
      id,
      destination,
      method: '',
      url: '',
      headers: [],
      orderKey: '',
      class: slot.class,
      receivedAt,
    };
    return {
      ...head,
      seq,
      bytes,
      sha256: record?.sha256 ?? '',
      ...(record?.md5 !== undefined && { md5: record.md5 }),
      trailers: record?.trailers ?? [],
      state: this.stateOf(slot),
      attempts,
      ...(lastError !== undefined && { lastError }),
      ...(stuck && { stuck }),
      ...(reason !== undefined && { reason }),
      ...(answer && { answer }),
      ...(record && { committed: record.committed }),
    };
  }
}
