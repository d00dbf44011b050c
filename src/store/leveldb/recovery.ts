// What opening does with what it finds: counts what the index holds, indexes what the generations hold beyond its watermark
// (all of it, where the index is new), and reports what is missing by number. It deletes nothing.

import type { Damage } from '../store.ts';
import type { Catalog } from './catalog.ts';
import type { Watermark } from './entry-index.ts';
import { decodeEntryRecord, decodeOpening, type EntryRecord } from './entry-record.ts';
import type { Generation } from './generation.ts';
import { decodeKey, encodeKey, type GenerationKey, KIND } from './keys.ts';
import { reasonOf } from './level-errors.ts';
import { slotOf } from './slot.ts';

/** Keys looked at in one go. */
const PAGE = 1024;
/** Missing numbers that are named one by one; a larger hole is one line. */
const NAMED = 1000;

export interface Recovered {
  /** Writers without an entry. */
  abandoned: number;
  position: Omit<Watermark, 'open'>;
}

export class Recovery {
  readonly #catalog: Catalog;
  readonly #damage: Damage[];
  readonly #rebuild: boolean;
  readonly #watermark: Watermark;
  readonly #unfinished: Set<number>;
  /** Slots whose value is damaged, by seq; their entries are looked for. */
  readonly #wanted = new Map<number, string>();
  #expected: number;

  /** Without a watermark the index is rebuilt from all generations. */
  constructor(catalog: Catalog, watermark: Watermark | undefined, damage: Damage[]) {
    this.#catalog = catalog;
    this.#damage = damage;
    this.#rebuild = watermark === undefined;
    this.#watermark = watermark ?? { seq: 0, generation: 0, counter: 0, open: [] };
    this.#unfinished = new Set(this.#watermark.open);
    this.#expected = this.#watermark.seq + 1;
  }

  async run(): Promise<Recovered> {
    const { generations } = this.#catalog;
    generations.reserve(this.#watermark.generation);
    await this.#countSlots();
    let { generation, counter } = this.#watermark;
    const numbers = generations.numbers;
    for (const number of numbers) {
      const known = number < this.#watermark.generation;
      if (known && this.#wanted.size === 0) continue;
      const last = await generations.use(number, (opened) => this.#scan(opened, numbers, known));
      if (!known && last !== undefined) [generation, counter] = [number, last];
    }
    for (const [seq, destination] of this.#wanted) {
      this.#catalog.index.forget(destination, seq);
      this.#damage.push({ seq, reason: 'its place in the index is damaged and its record was not found' });
    }
    return {
      abandoned: this.#unfinished.size,
      position: { seq: this.#expected - 1, generation, counter },
    };
  }

  async #countSlots(): Promise<void> {
    const missing = new Set<number>();
    for await (const { destination, seq, slot } of this.#catalog.index.slots()) {
      if (!slot) {
        this.#wanted.set(seq, destination);
        continue;
      }
      this.#catalog.count(slot);
      if (slot.state === 'quarantined') continue;
      for (const [number] of slot.parts) if (!this.#catalog.generations.has(number)) missing.add(number);
    }
    for (const number of missing) await this.lost(number, `generation ${number} is missing`);
  }

  /** Quarantines and reports what a lost generation held. */
  async lost(number: number, reason: string): Promise<void> {
    this.#damage.push({ reason });
    await this.#catalog.loseGeneration(number, reason, ({ id, seq }) =>
      this.#damage.push({ id, seq, reason }),
    );
  }

  /** Resolves with the last counter seen. */
  async #scan(generation: Generation, numbers: number[], known: boolean): Promise<number> {
    const { db, number } = generation;
    const ahead = this.#watermark.generation === number ? this.#watermark.counter : 0;
    const seen = this.#wanted.size > 0 ? 0 : ahead;
    let last = ahead;
    try {
      if (!known && ahead === 0) await this.#begin(generation, numbers);
      const end = await this.#firstSeqAfter(number, numbers);
      const keys = db.keys({ gt: encodeKey(seen, 255 as GenerationKey['kind'], 0) });
      for (;;) {
        const page = (await keys.nextv(PAGE)).map(decodeKey).filter((key) => key !== undefined);
        if (page.length === 0) break;
        last = Math.max(last, page.at(-1)!.counter);
        for (const { kind, writer, counter } of page)
          if (kind === KIND.chunk && !known && counter > ahead) this.#unfinished.add(writer);
        const records = page.filter(({ kind }) => kind === KIND.entry || kind === KIND.copied);
        const values = await db.getMany(records.map((key) => encodeKey(key.counter, key.kind, key.writer)));
        for (const [i, key] of records.entries())
          await this.#take(generation.number, key, values[i], { end, fresh: !known && key.counter > ahead });
        await this.#catalog.index.room();
      }
    } catch (cause) {
      this.#damage.push({ reason: `generation ${number} cannot be read to its end: ${reasonOf(cause)}` });
    }
    return last;
  }

  /** Numbers between the end of the generation before and the first of this one are missing. */
  async #begin({ db, number }: Generation, numbers: number[]): Promise<void> {
    const first = decodeOpening(await db.get(encodeKey(1, KIND.opening, 0)));
    if (first === undefined) return;
    // When the index is rebuilt, a removed generation leaves a hole that is none.
    if (this.#rebuild && !numbers.includes(number - 1)) this.#expected = Math.max(this.#expected, first);
    this.#missing(first);
  }

  /** Where the next generation starts, this one ended: what stands here from that number on is a batch that failed, was
   *  never acknowledged, and gave its numbers back. */
  async #firstSeqAfter(number: number, numbers: number[]): Promise<number> {
    for (const later of numbers.slice(numbers.indexOf(number) + 1)) {
      const first = await this.#catalog.generations.use(later, ({ db }) =>
        db.get(encodeKey(1, KIND.opening, 0)),
      );
      const seq = decodeOpening(first);
      if (seq !== undefined) return seq;
    }
    return Number.POSITIVE_INFINITY;
  }

  async #take(
    generation: number,
    key: GenerationKey,
    value: Buffer | undefined,
    { end, fresh }: { end: number; fresh: boolean },
  ): Promise<void> {
    const record = decodeEntryRecord(value);
    if (typeof record === 'string') {
      if (fresh)
        this.#damage.push({ reason: `${record} (generation ${generation}, counter ${key.counter})` });
      return;
    }
    const place = { generation, ...key };
    const recordBytes = value!.length;
    if (fresh) this.#unfinished.delete(key.writer);
    if (this.#wanted.get(record.seq) === record.head.destination) {
      this.#wanted.delete(record.seq);
      this.#catalog.add(slotOf(record, place, recordBytes), false);
      return;
    }
    if (!fresh) return;
    if (key.kind === KIND.copied) {
      if (this.#rebuild) await this.#takeCopied(record, place, recordBytes);
      return;
    }
    if (record.seq >= end || record.seq < this.#expected) return;
    this.#missing(record.seq);
    this.#expected = record.seq + 1;
    this.#catalog.add(slotOf(record, place, recordBytes), false);
  }

  async #takeCopied(
    record: EntryRecord,
    place: GenerationKey & { generation: number },
    recordBytes: number,
  ): Promise<void> {
    const slot = slotOf(record, place, recordBytes);
    const moved = await this.#catalog.change(slot.id, (now) => ({
      now: { ...now, at: slot.at, parts: slot.parts },
    }));
    if (!moved) this.#catalog.add(slot, false);
  }

  #missing(next: number): void {
    const count = next - this.#expected;
    if (count > NAMED)
      this.#damage.push({ reason: `the entries ${this.#expected} to ${next - 1} are missing` });
    else
      for (let seq = this.#expected; seq < next; seq++) this.#damage.push({ seq, reason: 'it is missing' });
    this.#expected = Math.max(this.#expected, next);
  }
}
