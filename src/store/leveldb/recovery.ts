// What opening does with what it finds: counts what the index holds, indexes what the generations hold beyond its watermark, and
// reports what is missing by number. Where the index is new, or its sum shows that something of it is lost, it is compared with
// all that the generations hold: an entry that nobody is known to have got is sent again rather than lost. It deletes nothing.

import type { Damage, StoreEvent } from '../store.ts';
import { readRecords } from './body-reader.ts';
import type { Catalog } from './catalog.ts';
import { stagedIn } from './compose.ts';
import type { Watermark } from './entry-index.ts';
import { decodeEntryRecord, decodeOpening, type EntryRecord } from './entry-record.ts';
import type { Generation } from './generation.ts';
import type { Mark } from './high-water.ts';
import { encodeKey, KIND } from './keys.ts';
import { isDamaged, reasonOf } from './level-errors.ts';
import type { OpenedIndex } from './open-index.ts';
import { type Slot, slotOf } from './slot.ts';

/** Keys looked at in one go. */
const PAGE = 1024;
/** Missing numbers that are named one by one; a larger hole is one line. */
const NAMED = 1000;
const MISSING = 'it is missing';

export interface Recovered {
  /** Writers without an entry. */
  abandoned: number;
  /** Some slots lack their resource: see Catalog.sortByResource. */
  unsorted: boolean;
  position: Omit<Watermark, 'open'>;
}

export class Recovery {
  readonly #catalog: Catalog;
  readonly #damage: Damage[];
  readonly #found: Watermark | undefined;
  readonly #watermark: Watermark;
  readonly #mark: Mark | undefined;
  readonly #unfinished: Set<number>;
  /** The index is compared with all that the generations hold. */
  #compare: boolean;
  /** The slots of the index by seq, with the generation of the record; only where it is compared. */
  readonly #known = new Map<number, { generation: number; id: string }>();
  /** What became of entries, by seq, as far as the audit trail goes; only where the index is compared. */
  #fates: ReadonlyMap<number, StoreEvent> = new Map();
  /** Slots whose value is damaged, by seq; their entries are looked for. */
  readonly #wanted = new Map<number, string>();
  readonly #missingGenerations = new Set<number>();
  #expected: number;
  #again = 0;
  /** Slots of an older format do not say their resource. */
  #unsorted = false;

  /** Without a watermark, or where it is `doubtful`, the index is compared with all generations. */
  constructor(
    catalog: Catalog,
    { watermark, doubtful }: Omit<OpenedIndex, 'index'>,
    mark: Mark | undefined,
    damage: Damage[],
  ) {
    this.#catalog = catalog;
    this.#damage = damage;
    this.#found = watermark;
    this.#compare = doubtful || watermark === undefined;
    this.#watermark = watermark ?? { seq: 0, generation: 0, counter: 0, open: [] };
    this.#mark = mark;
    this.#unfinished = new Set(this.#watermark.open);
    this.#expected = this.#watermark.seq + 1;
  }

  async run(): Promise<Recovered> {
    const { generations } = this.#catalog;
    generations.reserve(Math.max(this.#watermark.generation, this.#mark?.generation ?? 0));
    await this.#countSlots();
    if (this.#compare) await this.#prepare();
    let { generation, counter } = this.#watermark;
    const numbers = generations.numbers;
    for (const number of numbers) {
      if (number < this.#watermark.generation && !this.#compare) continue;
      const last = await generations.use(number, (opened) => this.#scan(opened, numbers));
      if (last === undefined || number < generation) continue;
      counter = number === generation ? Math.max(counter, last) : last;
      generation = number;
    }
    this.#lookAtTheEnd(numbers);
    for (const number of this.#missingGenerations) await this.lost(number, `generation ${number} is missing`);
    return {
      abandoned: this.#unfinished.size,
      unsorted: this.#unsorted,
      position: { seq: this.#expected - 1, generation, counter },
    };
  }

  async #countSlots(): Promise<void> {
    const { index, generations } = this.#catalog;
    let slots = 0;
    for await (const { destination, seq, slot } of index.slots()) {
      slots++;
      if (!slot) {
        this.#wanted.set(seq, destination);
        continue;
      }
      index.count(slot);
      this.#catalog.count(slot);
      if (slot.state === 'quarantined') continue;
      if (slot.resource === undefined) this.#unsorted = true;
      for (const [number] of slot.parts) if (!generations.has(number)) this.#missingGenerations.add(number);
    }
    if (!index.trailIsWhole)
      this.#damage.push({ reason: 'the audit trail was damaged; some of its lines are gone' });
    if (!this.#found) {
      const first = slots === 0 && generations.numbers.length === 0 && !this.#mark;
      if (!first)
        this.#damage.push({
          reason: 'the index was missing or damaged; it was rebuilt from the generations',
        });
    } else if (this.#wanted.size > 0 || !index.isSound(this.#found)) {
      this.#compare = true;
      this.#damage.push({ reason: 'the index was damaged; it was compared with the generations' });
    }
  }

  /** What is in the index is written anew, and what the audit trail knows to be over is taken out. */
  async #prepare(): Promise<void> {
    const { index } = this.#catalog;
    this.#expected = 1;
    this.#fates = await index.fates();
    const over: string[] = [];
    for await (const { destination, seq, slot } of index.slots()) {
      if (!slot) continue;
      this.#known.set(seq, { generation: slot.at.generation, id: slot.id });
      index.rewrite({ ...slot, destination });
      if (isOver(this.#fates.get(seq))) over.push(slot.id);
      await index.room();
    }
    await index.dropStrays(
      (id, seq) => this.#known.get(seq)?.id === id,
      (seq) => this.#known.has(seq),
    );
    for (const id of over) await this.#catalog.change(id, () => ({ now: undefined }));
  }

  /** Numbers that were given, and of which nothing is left anywhere. */
  #lookAtTheEnd(numbers: number[]): void {
    const { index } = this.#catalog;
    const mark = this.#mark;
    // Where its generation is gone altogether, it had been removed as it should be: nothing in it was left to send.
    if (mark && (!this.#compare || numbers.includes(mark.generation))) this.#missing(mark.seq + 1);
    this.#expected = Math.max(this.#expected, (mark?.seq ?? 0) + 1, this.#watermark.seq + 1);
    for (const [seq, destination] of this.#wanted) {
      index.forget(destination, seq);
      this.#damage.push({ seq, reason: 'its place in the index is damaged and its record was not found' });
    }
    if (this.#again > NAMED)
      this.#damage.push({ reason: `${this.#again} entries were found again; they may be sent twice` });
  }

  /** Quarantines and reports what a lost generation held. */
  async lost(number: number, reason: string): Promise<void> {
    this.#damage.push({ reason });
    await this.#catalog.loseGeneration(number, reason, ({ id, seq }) =>
      this.#damage.push({ id, seq, reason }),
    );
  }

  /** Resolves with the last counter seen. */
  async #scan(generation: Generation, numbers: number[]): Promise<number> {
    const { number } = generation;
    const ahead = this.#watermark.generation === number && !this.#compare ? this.#watermark.counter : 0;
    let last = ahead;
    try {
      if (ahead === 0) this.#begin(number, await openingOf(generation), numbers);
      const end = await this.#firstSeqAfter(number, numbers);
      for await (const page of generation.keys(ahead + 1, PAGE)) {
        last = Math.max(last, page.at(-1)?.counter ?? last);
        for (const { kind, writer } of page) if (kind === KIND.chunk) this.#unfinished.add(writer);
        const records = page.filter(({ kind }) => kind === KIND.entry || kind === KIND.copied);
        const values = await generation.values(
          records.map((key) => encodeKey(key.counter, key.kind, key.writer)),
        );
        for (const [i, key] of records.entries())
          await this.#take({ generation: number, ...key }, values[i], end);
        await this.#catalog.index.room();
      }
    } catch (cause) {
      if (!isDamaged(cause)) throw cause;
      this.#damage.push({ reason: `generation ${number} cannot be read whole: ${reasonOf(cause)}` });
    }
    return last;
  }

  /** Numbers between the end of the generation before and the first of this one are missing. */
  #begin(number: number, first: number | undefined, numbers: number[]): void {
    if (first === undefined) return;
    // When all generations are looked at, a removed one leaves a hole that is none.
    if (this.#compare && !numbers.includes(number - 1)) this.#expected = Math.max(this.#expected, first);
    this.#missing(first);
  }

  /** Where the next generation starts, this one ended: what stands here from that number on is a batch that failed, was
   *  never acknowledged, and gave its numbers back. */
  async #firstSeqAfter(number: number, numbers: number[]): Promise<number> {
    for (const later of numbers.slice(numbers.indexOf(number) + 1)) {
      const seq = await this.#catalog.generations.use(later, openingOf);
      if (seq !== undefined) return seq;
    }
    return Number.POSITIVE_INFINITY;
  }

  async #take(place: Slot['at'], value: Buffer | undefined, end: number): Promise<void> {
    const record = decodeEntryRecord(value);
    if (typeof record === 'string') {
      const { generation, counter } = place;
      this.#damage.push({ reason: `${record} (generation ${generation}, counter ${counter})` });
      return;
    }
    this.#catalog.clock.found(record.committed);
    this.#unfinished.delete(place.writer);
    const { seq } = record;
    const slot = slotOf(record, place, value!.length);
    if (this.#compare && !(await this.#isNews(slot))) {
      if (seq < end) await this.#compose(record);
      return this.#takeEdit(slot, record);
    }
    const wantedIn = this.#wanted.get(seq);
    const wanted = this.#wanted.delete(seq);
    if (wantedIn !== undefined && wantedIn !== slot.destination) this.#catalog.index.forget(wantedIn, seq);
    if (!wanted && place.kind === KIND.copied && !this.#compare) return;
    if (!wanted && place.kind === KIND.entry) {
      if (seq >= end) return;
      if (seq >= this.#expected) {
        this.#missing(seq);
        this.#expected = seq + 1;
      } else if (!this.#compare) return;
      else this.#outOfTurn(seq);
    }
    this.#catalog.add(this.#compare ? this.#asItWas(slot) : slot, undefined);
    await this.#compose(record);
    if (this.#compare) this.#known.set(seq, { generation: place.generation, id: slot.id });
    if (!this.#compare || !this.#found) return;
    if (++this.#again <= NAMED)
      this.#damage.push({
        id: slot.id,
        seq,
        reason: 'the index had lost it; it was found again and may be sent twice',
      });
  }

  /** A damaged key stands elsewhere, and made this one be missed. */
  #outOfTurn(seq: number): void {
    const at = this.#damage.findIndex((one) => one.seq === seq && one.reason === MISSING);
    if (at >= 0) this.#damage.splice(at, 1);
  }

  /** What was staged in its group before it has left with it. */
  async #compose({ composes, head, seq }: EntryRecord): Promise<void> {
    if (composes === undefined) return;
    const together: Promise<unknown>[] = [];
    for await (const { slot } of stagedIn(this.#catalog, head.destination, composes))
      if (slot.seq < seq) together.push(this.#catalog.change(slot.id, () => ({ now: undefined })));
    await Promise.all(together);
  }

  /** Whether the index knows nothing of an entry that may still have to be sent. */
  async #isNews(slot: Slot): Promise<boolean> {
    const { seq, id, destination, at, parts, resource } = slot;
    const known = this.#known.get(seq);
    if (!known) return !isOver(this.#fates.get(seq));
    const lost = !this.#catalog.generations.has(known.generation);
    if (lost && known.id === id)
      await this.#catalog.change(id, (now) => ({
        now: { ...now, destination, at, parts, ...(resource !== undefined && { resource }) },
      }));
    return false;
  }

  /** The generations hold a record for each edit and each move of an entry: the last one counts. */
  async #takeEdit(
    { id, destination, at, parts, resource }: Slot,
    { seq, edition }: EntryRecord,
  ): Promise<void> {
    const known = edition === undefined ? undefined : await this.#catalog.index.find(id);
    if (known?.seq !== seq || edition === undefined || resource === undefined) return;
    const [record] = await readRecords(this.#catalog.generations, [known]);
    if (typeof record === 'object' && (record.edition ?? 0) >= edition) return;
    await this.#catalog.change(id, (now) => ({ now: { ...now, destination, at, parts, resource } }));
  }

  #asItWas(slot: Slot): Slot {
    const fate = this.#fates.get(slot.seq);
    if (fate?.kind !== 'dead' && fate?.kind !== 'quarantined') return slot;
    return { ...slot, state: fate.kind, ...(fate.detail !== undefined && { reason: fate.detail }) };
  }

  #missing(next: number): void {
    const gone: number[] = [];
    for (let seq = this.#expected; seq < next && gone.length <= NAMED; seq++)
      if (!this.#known.has(seq) && !this.#wanted.has(seq) && !isOver(this.#fates.get(seq))) gone.push(seq);
    if (gone.length > NAMED)
      this.#damage.push({ reason: `entries from ${gone[0]} to ${next - 1} are missing` });
    else for (const seq of gone) this.#damage.push({ seq, reason: MISSING });
    this.#expected = Math.max(this.#expected, next);
  }
}

const isOver = (fate: StoreEvent | undefined): boolean =>
  fate !== undefined && /^(?:composed|delivered|dropped|expired|evicted)$/.test(fate.kind);

const openingOf = async (generation: Generation): Promise<number | undefined> => {
  const [opening] = await generation.values([encodeKey(1, KIND.opening, 0)]);
  return decodeOpening(opening);
};
