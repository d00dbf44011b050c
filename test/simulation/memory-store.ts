// A store in memory, on a simulated disk: the caller decides how long each operation takes and which fails, and a crash leaves only what was
// durable. It takes the Catalog, the totals, the lists and the flush loop of the LevelDB store as they are, so events, counts and promises
// come in the same order; what they stand on (index, commits, bodies) is memory-*.ts.
//
//   const store = new MemoryStore({ disk: (label) => simulation.delay(label, 0.1, 5), isInFlight: (id) => sender.has(id) });
//   …
//   const after = store.crash();                   // the old store never answers any more

import { editChange, type HeadChange, moveChange } from '../../src/store/leveldb/edit.ts';
import type { EntryIndex } from '../../src/store/leveldb/entry-index.ts';
import type { Generations } from '../../src/store/leveldb/generations.ts';
import { storeClosed } from '../../src/store/leveldb/level-errors.ts';
import { evictableSlots, isListed, listSlots } from '../../src/store/leveldb/list-slots.ts';
import { resourceSum } from '../../src/store/leveldb/resources.ts';
import { type Slot, waitingAgain } from '../../src/store/leveldb/slot.ts';
import { StoreClock } from '../../src/store/leveldb/store-clock.ts';
import { resourceOf } from '../../src/store/resource.ts';
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
} from '../../src/store/store.ts';
import { LaybyError } from '../../src/telemetry/error.ts';
import { type ChangeParts, changeHead, compose } from './memory-changes.ts';
import { MemoryCommits } from './memory-commits.ts';
import { MemoryDisk, type MemoryRecord, type StoreFaults } from './memory-disk.ts';
import { MemoryIndex } from './memory-index.ts';
import { damaged, full, MemoryCatalog, type MemoryStoreOptions, virtualClock } from './memory-parts.ts';
import { MemoryRecords, slotFrom } from './memory-records.ts';
import { recover } from './memory-recovery.ts';
import { BodyDamaged, MemoryWriter, readBodies, type WriterHost } from './memory-writer.ts';

export { MemoryDisk, randomFaults, type StoreFaults } from './memory-disk.ts';
export type { MemoryStoreOptions } from './memory-parts.ts';

const LONGEST_RECORD = 128 * 1024;

export class MemoryStore implements Store, WriterHost {
  readonly report: OpenReport;
  readonly commits: MemoryCommits;
  readonly #options: MemoryStoreOptions;
  readonly #faults: StoreFaults;
  readonly #disk: MemoryDisk;
  readonly #clock: StoreClock;
  readonly #index: MemoryIndex;
  readonly #catalog: MemoryCatalog;
  readonly #records: MemoryRecords;
  readonly #changes: ChangeParts;
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  readonly #writers = new Set<MemoryWriter>();
  /** Open bodies of each id, and the ids that had several. */
  readonly #bodies = new Map<string, number>();
  readonly #contested = new Set<string>();
  readonly #claimed = new Set<string>();
  #expected = 0;
  #reclaiming = false;
  #crashed = false;
  #closed: Promise<void> | undefined;

  /** `disk`: what an earlier store left. */
  constructor(options: MemoryStoreOptions, disk = new MemoryDisk()) {
    this.#options = options;
    this.#faults = options.faults ?? {};
    this.#disk = disk;
    this.#clock = new StoreClock(options.bootClock ?? virtualClock);
    if (disk.reading) this.#clock.found(disk.reading);
    const host = {
      touch: (label: string) => this.touch(label),
      write: async (batch: NonNullable<MemoryDisk['flushing']>) => {
        disk.flushing = batch;
        try {
          await this.#written('flush');
          disk.write(batch);
        } finally {
          disk.flushing = undefined;
        }
      },
      flushed: () => void this.#reclaim(),
    };
    this.#index = new MemoryIndex(host, this.#clock, disk);
    this.#catalog = new MemoryCatalog(
      this.#index as unknown as EntryIndex,
      { count: () => {} } as unknown as Generations,
      this.#clock,
      (event) => {
        for (const listener of this.#listeners) listener(event);
      },
      options.isInFlight ?? (() => false),
    );
    this.commits = new MemoryCommits(disk, this.#clock, () => this.#written('commit'));
    this.commits.ready = () => this.#index.room();
    this.commits.committed = (records) => this.#committed(records);
    const { commits } = this;
    const parts = { disk, index: this.#index, catalog: this.#catalog };
    const touch = (label: string) => this.touch(label);
    this.#records = new MemoryRecords({ ...parts, faults: this.#faults, touch });
    this.#changes = { ...parts, commits, records: this.#records };
    recover(parts);
    const setAside = { copies: 0, bytes: 0 };
    const { abandoned } = disk;
    this.report = { took: 0, entries: this.#index.size, abandoned, damage: [], setAside };
    this.#catalog.damaged = (found) => this.report.damage.push(found);
  }

  /** The process ends here: a store with what the disk has. The old one never answers any more. */
  crash(options: Partial<MemoryStoreOptions> = {}): MemoryStore {
    this.#crashed = true;
    this.#listeners.clear();
    const disk = this.#disk.crashed(this.#faults);
    disk.abandoned = [...this.#writers].filter(({ hasChunks }) => hasChunks).length;
    return new MemoryStore({ ...this.#options, ...options }, disk);
  }

  /** The disk of a closed store, to open it again. */
  get disk(): MemoryDisk {
    return this.#disk;
  }

  async touch(label: string): Promise<void> {
    await this.#options.disk(label);
    if (this.#crashed) await new Promise(() => {});
  }

  async #written(label: 'commit' | 'flush'): Promise<void> {
    const fails = this.#faults.writeFails?.(label) ?? false;
    await this.touch(label);
    if (fails) throw new Error(`the disk did not take the ${label}`);
  }

  async #reclaim(): Promise<void> {
    if (this.#reclaiming || this.#disk.garbage.length === 0) return;
    this.#reclaiming = true;
    await this.touch('reclaim');
    this.#reclaiming = false;
    this.#disk.reclaim();
  }

  /** Everything that must be true before a commit resolves, in one turn. */
  #committed(records: MemoryRecord[]): void {
    for (const record of records) {
      if (!record.moved) this.#catalog.add(slotFrom(record), record);
      for (const slot of this.#leaving.get(record.head.id) ?? []) this.#catalog.leave(slot, record.head.id);
      this.#index.mark(record.counter);
    }
    if (records.length > 0) this.#index.soon();
  }

  /** By the id of a composed entry whose commit is under way: the slots that leave with it. */
  readonly #leaving = new Map<string, readonly Slot[]>();

  #open(): void {
    if (this.#closed || this.#crashed) throw storeClosed();
  }

  get openWriters(): number {
    return this.#writers.size;
  }

  async begin(head: EntryHead, expected = 0, options: WriterOptions = {}): Promise<EntryWriter> {
    this.#open();
    this.#refuseTaken(head.id);
    if (this.lacking(expected) > 0) {
      await this.makeRoom(expected);
      const refusal = this.#lackingRoom(expected);
      if (refusal) throw refusal;
      this.#open();
      this.#refuseTaken(head.id);
    }
    if (this.#faults.full?.('begin')) throw full(expected);
    const writer = new MemoryWriter(this, head, expected, options);
    this.#writers.add(writer);
    const rivals = this.#bodies.get(head.id) ?? 0;
    if (rivals > 0) this.#contested.add(head.id);
    this.#bodies.set(head.id, rivals + 1);
    return writer;
  }

  #refuseTaken(id: string): void {
    if (!this.#claimed.has(id) && !this.#index.has(id)) return;
    throw new LaybyError('LAYBY_ENTRY_EXISTS', `Entry ${id} is stored already`, {
      remedy: 'Give each entry an id of its own (a UUID)',
    });
  }

  claim(writer: MemoryWriter): void {
    if (this.#crashed) throw storeClosed();
    if (this.#contested.has(writer.head.id)) this.#refuseTaken(writer.head.id);
    this.#claimed.add(writer.head.id);
  }

  ended(writer: MemoryWriter): void {
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

  expect(bytes: number): void {
    this.#expected += bytes;
  }

  #lackingRoom(bytes: number): LaybyError | undefined {
    return this.lacking(bytes) > 0 ? full(bytes) : undefined;
  }

  refusal(label: 'write' | 'compose' | 'edit', bytes: number): LaybyError | undefined {
    return this.#faults.full?.(label) ? full(bytes) : this.#lackingRoom(bytes);
  }

  entryOf(record: MemoryRecord): Entry {
    return this.#catalog.entry(slotFrom(record), record);
  }

  async get(id: string): Promise<Entry | undefined> {
    this.#open();
    const found = await this.#records.find(id);
    return found && this.#catalog.entry(found.slot, found.record);
  }

  async *read(entry: Entry, range: { start?: number; end?: number } = {}): AsyncGenerator<Buffer> {
    this.#open();
    const found = await this.#records.find(entry.id);
    if (!found)
      throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `Entry ${entry.id} is not in the store`, {
        remedy: 'See the audit trail for what became of it',
      });
    const { slot, record } = found;
    if (!record || slot.state === 'quarantined') throw damaged(entry.id, slot.reason);
    for (const body of record.bodies) {
      const at = this.#faults.bodyDamaged?.(body.bytes);
      if (at !== undefined) body.damagedAt ??= at;
    }
    try {
      const { start = 0, end = record.bytes } = range;
      yield* readBodies(record.bodies, start, end, (label) => this.touch(label));
    } catch (cause) {
      if (!(cause instanceof BodyDamaged)) throw cause;
      await this.#catalog.quarantine(entry.id, cause.message);
      throw damaged(entry.id, cause.message);
    }
  }

  async *list(options: ListOptions = {}): AsyncGenerator<Entry> {
    this.#open();
    const { limit = Number.POSITIVE_INFINITY } = options;
    let left = limit;
    if (left <= 0) return;
    for await (const slots of listSlots(this.#catalog, options)) {
      const records = await this.#records.read(slots);
      for (const [i, slot] of slots.entries()) {
        const record = records[i];
        const found = typeof record === 'object' ? { slot, record } : await this.#records.find(slot.id);
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
    for await (const slot of this.#index.resource(destination, resourceSum(url))) {
      const found = await this.#records.find(slot.id);
      if (found?.record && found.slot.state === 'stored' && resourceOf(found.record.head.url) === resource)
        yield this.#catalog.entry(found.slot, found.record);
    }
  }

  occupied(destination: string, url: string): Promise<boolean> | false {
    this.#open();
    return this.#index.mayWait(destination, resourceSum(url)) && this.#occupied(destination, url);
  }

  async #occupied(destination: string, url: string): Promise<boolean> {
    if (this.#index.hasJustLeft(destination, resourceSum(url))) return true;
    for await (const _ of this.waitingFor(destination, url)) return true;
    return false;
  }

  async *staged(destination: string, group: string): AsyncGenerator<Entry> {
    this.#open();
    for await (const { slot, record } of this.#records.staged(destination, group))
      yield this.#catalog.entry(slot, record);
  }

  async compose(head: EntryHead, group: string, parts: readonly string[]): Promise<Entry> {
    this.#open();
    this.#refuseTaken(head.id);
    const refusal = this.refusal('compose', 0);
    if (refusal) throw refusal;
    this.#claimed.add(head.id);
    try {
      const record = await compose(this.#changes, head, group, parts, (slots) => {
        this.#leaving.set(head.id, slots);
      });
      return this.entryOf(record);
    } finally {
      this.#claimed.delete(head.id);
      this.#leaving.delete(head.id);
    }
  }

  totals(): ReadonlyMap<string, Totals> {
    return this.#catalog.totals.totals();
  }

  sent(entry: Entry): void {
    this.#open();
    this.#catalog.sent(entry);
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

  async delivered(id: string, detail: string): Promise<void> {
    this.#open();
    await this.#catalog.change(id, () => {
      this.#index.setProgress(id, undefined);
      return { now: undefined, event: { kind: 'delivered', detail } };
    });
  }

  async progress(id: string): Promise<unknown> {
    this.#open();
    return this.#index.progressOf(id);
  }

  setProgress(id: string, value: unknown): Promise<void> {
    this.#open();
    this.#index.setProgress(id, value === undefined ? undefined : JSON.parse(JSON.stringify(value)));
    return this.#index.flushed();
  }

  async *leftBehind(): AsyncGenerator<{ id: string; progress: unknown }> {
    this.#open();
    for (const id of this.#index.begun) {
      if ((await this.#index.find(id))?.state === 'stored') continue;
      const progress = await this.#index.progressOf(id);
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
            now: waitingAgain(slot, this.#clock.now()),
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

  async #changeHead(id: string, change: HeadChange): Promise<boolean> {
    this.#open();
    const refusal = this.refusal('edit', LONGEST_RECORD);
    if (refusal) throw refusal;
    return changeHead(this.#changes, id, change);
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
    return committed ? Math.max(0, this.#clock.now() - (committed.clock ?? 0)) : 0;
  }

  async *expired(): AsyncGenerator<EntryBrief> {
    this.#open();
    for await (const slot of this.#index.expired())
      if (this.#catalog.stateOf(slot) !== 'sending') yield this.#catalog.brief(slot);
  }

  async *evictable(below: number, destination?: string): AsyncGenerator<EntryBrief> {
    this.#open();
    for await (const slot of evictableSlots(this.#catalog, below, destination))
      yield this.#catalog.brief(slot);
  }

  lacking(more: number): number {
    const { quota = Number.MAX_SAFE_INTEGER / 2 } = this.#options;
    return Math.max(0, this.#used + this.commits.taken + this.#expected + more - quota);
  }

  get #used(): number {
    return this.#options.quota === undefined ? 0 : this.#disk.bytes;
  }

  async makeRoom(more: number): Promise<number> {
    this.#open();
    await this.touch('measure');
    if (this.lacking(more) === 0) return 0;
    await this.touch('reclaim');
    this.#disk.reclaim();
    return this.lacking(more);
  }

  async physicalBytes(): Promise<number> {
    await this.touch('measure');
    return this.#disk.bytes;
  }

  async setAside(): Promise<SetAsideTotals> {
    return { copies: 0, bytes: 0 };
  }

  audit(of: { id?: string; url?: string } = {}): AsyncIterable<StoreEvent> {
    this.#open();
    return this.#index.audit(of);
  }

  on(_event: 'event', listener: (event: StoreEvent) => void): void {
    this.#listeners.add(listener);
  }

  off(_event: 'event', listener: (event: StoreEvent) => void): void {
    this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const writer of [...this.#writers]) writer.fail(storeClosed());
    await this.commits.idle();
    await this.#index.close();
  }
}
