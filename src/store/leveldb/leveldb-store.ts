// The store on LevelDB. How it works, in short: bodies go in chunks into the current generation, and the entry record goes
// in one synced batch with the last of them (group-commit.ts): that is the commit, and the generations are the truth for
// what was accepted. In the same turn the entry enters the index (entry-index.ts), in memory first: it can be seen at once
// and is written behind. What becomes of entries later is written to the index alone. Opening (open.ts, recovery.ts)
// indexes what the generations hold beyond the index's watermark.

import { LaybyError, messageOf } from '../../telemetry/error.ts';
import type { Logger } from '../../telemetry/log.ts';
import { resourceOf } from '../resource.ts';
import type {
  Entry,
  EntryBrief,
  EntryEdit,
  EntryHead,
  EntryMove,
  EntryWriter,
  KeptAnswer,
  ListOptions,
  OpenReport,
  SetAsideTotals,
  Store,
  StoreEvent,
  Stuck,
  Totals,
  WriterOptions,
} from '../store.ts';
import type { Ballast } from './ballast.ts';
import { BodyDamaged, readBody, readRecords } from './body-reader.ts';
import type { Catalog } from './catalog.ts';
import { compose, stagedIn } from './compose.ts';
import { directoryBytes } from './directory.ts';
import { changeHead, editChange, type HeadChange, moveChange } from './edit.ts';
import type { EntryRecord } from './entry-record.ts';
import type { Generations } from './generations.ts';
import type { GroupCommit, Placed } from './group-commit.ts';
import type { HighWater } from './high-water.ts';
import { storeClosed } from './level-errors.ts';
import { evictableSlots, isListed, listSlots } from './list-slots.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { Reclaim } from './reclaim.ts';
import { resourceSum } from './resources.ts';
import { totalSetAside } from './set-aside.ts';
import { isSamePlace, type Slot, slotOf, waitingAgain } from './slot.ts';
import type { Space } from './space.ts';
import type { StoreLock } from './store-lock.ts';
import { BodyWriter, type WriterHost } from './writer.ts';

/** A flush of the watermark is due after this much of bodies without one: it bounds what opening has to look through. */
const MARK_BYTES = 64 * 1024 * 1024;
/** More than a record with its headers takes. */
const RECORD_BYTES = 128 * 1024;

export interface StoreParts {
  dir: string;
  lock: StoreLock;
  ballast: Ballast;
  catalog: Catalog;
  commits: GroupCommit;
  budget: MemoryBudget;
  space: Space;
  reclaim: Reclaim;
  highWater: HighWater;
  newWriter: () => number;
  listeners: Set<(event: StoreEvent) => void>;
  log: Logger | undefined;
}

export class LevelStore implements Store, WriterHost {
  readonly report: OpenReport;
  readonly commits: GroupCommit;
  readonly budget: MemoryBudget;
  readonly space: Space;
  readonly #parts: StoreParts;
  readonly #catalog: Catalog;
  readonly #writers = new Set<BodyWriter>();
  /** Open bodies of each id: nearly always one. */
  readonly #bodies = new Map<string, number>();
  /** Ids that had several: which of the bodies is first, their commits decide. */
  readonly #contested = new Set<string>();
  /** Ids between commit() and its end. */
  readonly #claimed = new Set<string>();
  #unmarked = 0;
  #closed: Promise<void> | undefined;

  constructor(parts: StoreParts, report: OpenReport) {
    this.#parts = parts;
    this.#catalog = parts.catalog;
    this.commits = parts.commits;
    this.budget = parts.budget;
    this.space = parts.space;
    this.report = report;
    const { index } = this.#catalog;
    index.openWriters = () =>
      [...this.#writers].filter(({ body }) => body.extents.length > 0).map(({ body }) => body.writer);
    index.onFlushed = (flush) => {
      parts.highWater.note({ flush });
      parts.reclaim.check();
    };
    this.#catalog.generations.settled = () => parts.reclaim.check();
    parts.commits.ready = () => index.room();
    parts.commits.failed = (cause) => {
      parts.log?.error({ reason: messageOf(cause) }, 'a batch failed; a new generation follows');
      parts.reclaim.check(); // the one that failed may hold nothing
    };
    parts.commits.committed = (placed, position) => this.#committed(placed, position);
  }

  /** Everything that must be true before a commit resolves, in one turn. */
  #committed(placed: Placed[], position: { seq: number; generation: number; counter: number }): void {
    const { index, generations } = this.#catalog;
    const before = this.#unmarked;
    for (const { record, at, recordBytes, moved, leaves } of placed) {
      if (!moved) this.#catalog.add(slotOf(record, at, recordBytes), record);
      for (const slot of leaves) this.#catalog.leave(slot, record.head.id);
    }
    index.mark(position);
    if (placed.some(({ moved }) => !moved)) {
      const { seq, generation } = position;
      this.#parts.highWater.note({ seq, generation });
    }
    const written = generations.current?.written ?? 0;
    this.#unmarked = written;
    const crossed = Math.floor(written / MARK_BYTES) !== Math.floor(before / MARK_BYTES);
    if (placed.length > 0 || crossed) index.soon();
  }

  get generations(): Generations {
    return this.#catalog.generations;
  }

  get openWriters(): number {
    return this.#writers.size;
  }

  #open(): void {
    if (this.#closed) throw storeClosed();
  }

  async begin(head: EntryHead, expected = 0, options: WriterOptions = {}): Promise<EntryWriter> {
    this.#open();
    this.#refuseTaken(head.id);
    if (this.lacking(expected) > 0) {
      await this.makeRoom(expected); // and the estimate may be a second old
      const refusal = this.space.refusal(expected);
      if (refusal) throw refusal;
      this.#open();
      this.#refuseTaken(head.id);
    }
    const writer = new BodyWriter(this, this.#parts.newWriter(), head, expected, options);
    this.#writers.add(writer);
    const rivals = this.#bodies.get(head.id) ?? 0;
    if (rivals > 0) this.#contested.add(head.id);
    this.#bodies.set(head.id, rivals + 1);
    return writer;
  }

  #refuseTaken(id: string): void {
    if (!this.#claimed.has(id) && !this.#catalog.index.has(id)) return;
    throw new LaybyError('LAYBY_ENTRY_EXISTS', `Entry ${id} is stored already`, {
      remedy: 'Give each entry an id of its own (a UUID)',
    });
  }

  /** The id was free when the body began; only another body that was open meanwhile can have taken it. */
  claim(writer: BodyWriter): void {
    if (this.#contested.has(writer.head.id)) this.#refuseTaken(writer.head.id);
    this.#claimed.add(writer.head.id);
  }

  ended(writer: BodyWriter): void {
    this.#writers.delete(writer);
    const { id } = writer.head;
    if (writer.claimed) this.#claimed.delete(id);
    const rivals = this.#bodies.get(id)! - 1;
    if (rivals > 0) this.#bodies.set(id, rivals);
    else {
      this.#bodies.delete(id);
      this.#contested.delete(id);
    }
  }

  entryOf({ record, at, recordBytes }: Placed): Entry {
    return this.#catalog.entry(slotOf(record, at, recordBytes), record);
  }

  async get(id: string): Promise<Entry | undefined> {
    this.#open();
    const found = await this.#load(id);
    return found && this.#catalog.entry(found.slot, found.record);
  }

  /** The slot and its record. Where the record is damaged, the entry is quarantined by then and comes without it. */
  async #load(id: string): Promise<{ slot: Slot; record: EntryRecord | undefined } | undefined> {
    for (let slot = await this.#catalog.index.find(id); slot; ) {
      const [record] = await readRecords(this.#catalog.generations, [slot]);
      if (typeof record === 'object') return { slot, record };
      const now = await this.#catalog.index.find(id);
      // Copied forward between the two reads: look there.
      if (now && isSamePlace(now.at, slot.at)) {
        const quarantined = await this.#catalog.quarantine(id, record ?? 'the entry record is missing');
        return { slot: quarantined ?? now, record: undefined };
      }
      slot = now;
    }
    return undefined;
  }

  async *read(entry: Entry, range: { start?: number; end?: number } = {}): AsyncGenerator<Buffer> {
    this.#open();
    const found = await this.#load(entry.id);
    if (!found)
      throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `Entry ${entry.id} is not in the store`, {
        remedy: 'See the audit trail for what became of it',
      });
    const { slot, record } = found;
    if (!record || slot.state === 'quarantined') throw damaged(entry.id, slot.reason);
    const unpin = this.#catalog.generations.pin(slot.parts.map(([number]) => number));
    try {
      yield* readBody(this.#catalog.generations, record, range.start, range.end);
    } catch (cause) {
      if (!(cause instanceof BodyDamaged)) throw cause;
      await this.#catalog.quarantine(entry.id, cause.message);
      throw damaged(entry.id, cause.message);
    } finally {
      unpin();
      this.#parts.reclaim.check();
    }
  }

  async *list(options: ListOptions = {}): AsyncGenerator<Entry> {
    this.#open();
    const { limit = Number.POSITIVE_INFINITY } = options;
    let left = limit;
    if (left <= 0) return;
    // What turns out to be damaged is not counted: fewer than `limit` means that there are no more.
    for await (const slots of listSlots(this.#catalog, options)) {
      const records = await readRecords(this.#catalog.generations, slots);
      for (const [i, slot] of slots.entries()) {
        const record = records[i];
        // Moved, gone, or damaged: it must be found out which.
        const found = typeof record === 'object' ? { slot, record } : await this.#load(slot.id);
        if (!found) continue;
        const entry = this.#catalog.entry(found.slot, found.record);
        if (!isListed(options.state, found.slot.state, entry.state)) continue;
        yield entry;
        left -= 1;
        if (left <= 0) return;
      }
    }
  }

  async *waitingFor(destination: string, url: string): AsyncGenerator<Entry> {
    this.#open();
    const resource = resourceOf(url);
    for await (const slot of this.#catalog.index.resource(destination, resourceSum(url))) {
      const found = await this.#load(slot.id);
      if (found?.record && found.slot.state === 'stored' && resourceOf(found.record.head.url) === resource)
        yield this.#catalog.entry(found.slot, found.record);
    }
  }

  occupied(destination: string, url: string): Promise<boolean> | false {
    this.#open();
    return this.#catalog.index.mayWait(destination, resourceSum(url)) && this.#occupied(destination, url);
  }

  async #occupied(destination: string, url: string): Promise<boolean> {
    if (this.#catalog.index.hasJustLeft(destination, resourceSum(url))) return true;
    for await (const _ of this.waitingFor(destination, url)) return true;
    return false;
  }

  async *staged(destination: string, group: string): AsyncGenerator<Entry> {
    this.#open();
    for await (const { slot, record } of stagedIn(this.#catalog, destination, group))
      yield this.#catalog.entry(slot, record);
  }

  async compose(head: EntryHead, group: string, parts: readonly string[]): Promise<Entry> {
    this.#open();
    this.#refuseTaken(head.id);
    const refusal = this.space.refusal(0);
    if (refusal) throw refusal;
    this.#claimed.add(head.id);
    try {
      const { newWriter } = this.#parts;
      const around = { catalog: this.#catalog, commits: this.commits, writer: newWriter() };
      return this.entryOf(await compose(around, head, group, parts));
    } finally {
      this.#claimed.delete(head.id);
    }
  }

  totals(): ReadonlyMap<string, Totals> {
    return this.#catalog.totals.totals();
  }

  async failed(id: string, lastError: string, stuck?: Stuck): Promise<Entry | undefined> {
    this.#open();
    await this.#catalog.change(id, (slot) =>
      slot.state === 'stored'
        ? { now: { ...slot, attempts: slot.attempts + 1, lastError, ...(stuck && { stuck }) } }
        : undefined,
    );
    return this.get(id);
  }

  sent(entry: Entry): void {
    this.#open();
    this.#catalog.sent(entry);
  }

  async delivered(id: string, detail: string): Promise<void> {
    this.#open();
    await this.#catalog.change(id, () => {
      this.#catalog.index.setProgress(id, undefined); // in the same flush
      return { now: undefined, event: { kind: 'delivered', detail } };
    });
  }

  async progress(id: string): Promise<unknown> {
    this.#open();
    return this.#catalog.index.progressOf(id);
  }

  setProgress(id: string, value: unknown): Promise<void> {
    this.#open();
    this.#catalog.index.setProgress(id, value);
    return this.#catalog.index.flushed();
  }

  async *leftBehind(): AsyncGenerator<{ id: string; progress: unknown }> {
    this.#open();
    const { index } = this.#catalog;
    for (const id of index.begun) {
      if ((await index.find(id))?.state === 'stored') continue;
      const progress = await index.progressOf(id);
      if (progress !== undefined) yield { id, progress };
    }
  }

  async dead(id: string, reason: string, answer?: KeptAnswer): Promise<void> {
    this.#open();
    await this.#catalog.change(id, (slot) =>
      slot.state === 'stored'
        ? {
            now: { ...slot, state: 'dead', reason, ...(answer && { answer }) },
            event: { kind: 'dead', detail: reason },
          }
        : undefined,
    );
  }

  async retry(id: string, detail?: string): Promise<boolean> {
    this.#open();
    const changed = await this.#catalog.change(id, (slot) =>
      slot.state === 'dead'
        ? {
            now: waitingAgain(slot, this.#catalog.clock.now()),
            event: { kind: 'retried', ...(detail && { detail }) },
          }
        : undefined,
    );
    return changed !== undefined;
  }

  edit(id: string, edit: EntryEdit, detail: string): Promise<boolean> {
    return this.#changeHead(id, editChange(this.#catalog, edit, detail));
  }

  move(id: string, move: EntryMove, detail: string): Promise<boolean> {
    return this.#changeHead(id, moveChange(this.#catalog, move, detail));
  }

  #changeHead(id: string, change: HeadChange): Promise<boolean> {
    this.#open();
    const refusal = this.space.refusal(RECORD_BYTES);
    if (refusal) return Promise.reject(refusal);
    return changeHead(this.#catalog, this.commits, () => this.#load(id), change);
  }

  async drop(id: string, kind: 'dropped' | 'expired' | 'evicted', rule: string): Promise<boolean> {
    this.#open();
    const changed = await this.#catalog.change(id, (slot) =>
      kind !== 'dropped' && this.#catalog.stateOf(slot) === 'sending'
        ? undefined
        : { now: undefined, event: { kind, detail: rule } },
    );
    return changed !== undefined;
  }

  age({ committed }: Entry): number {
    return committed ? Math.max(0, this.#catalog.clock.now() - (committed.clock ?? 0)) : 0;
  }

  async *expired(): AsyncGenerator<EntryBrief> {
    this.#open();
    for await (const slot of this.#catalog.index.expired())
      if (this.#catalog.stateOf(slot) !== 'sending') yield this.#catalog.brief(slot);
  }

  async *evictable(below: number, destination?: string): AsyncGenerator<EntryBrief> {
    this.#open();
    for await (const slot of evictableSlots(this.#catalog, below, destination))
      yield this.#catalog.brief(slot);
  }

  lacking(more: number): number {
    return this.space.lacking(more);
  }

  async makeRoom(more: number): Promise<number> {
    this.#open();
    await this.space.refresh();
    const lacking = this.lacking(more);
    if (lacking === 0) return 0;
    await this.#parts.reclaim.squeeze(lacking);
    await this.space.refresh();
    return this.lacking(more);
  }

  async physicalBytes(): Promise<number> {
    return (await directoryBytes(this.#parts.dir)) - this.#parts.ballast.bytes;
  }

  setAside(): Promise<SetAsideTotals> {
    return totalSetAside(this.#parts.dir);
  }

  audit(of: { id?: string; url?: string } = {}): AsyncIterable<StoreEvent> {
    this.#open();
    return this.#catalog.index.audit(of);
  }

  on(_event: 'event', listener: (event: StoreEvent) => void): void {
    this.#parts.listeners.add(listener);
  }

  off(_event: 'event', listener: (event: StoreEvent) => void): void {
    this.#parts.listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close().finally(() => this.#parts.lock.release());
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#parts.reclaim.close();
    for (const writer of [...this.#writers]) writer.fail(storeClosed());
    await this.commits.idle();
    try {
      await this.#catalog.index.close();
    } finally {
      await this.#catalog.generations.close();
      await this.#parts.ballast.close();
      await this.#parts.highWater.close();
    }
  }
}

const damaged = (id: string, reason: string | undefined): LaybyError =>
  new LaybyError('LAYBY_ENTRY_DAMAGED', `Entry ${id} is damaged: ${reason}`, {
    remedy: 'It is quarantined and will not be sent; drop it when you have seen it',
  });
