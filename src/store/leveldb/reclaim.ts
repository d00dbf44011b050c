// Gives the disk back: a sealed generation in which nothing lives is removed whole. Where the drain has passed and a few
// entries stay behind (dead letters, a slow destination), they are copied forward, so that one of them does not hold 192 MiB.

import { messageOf } from '../../telemetry/error.ts';
import type { Logger } from '../../telemetry/log.ts';
import { readBody, readRecords } from './body-reader.ts';
import type { Catalog } from './catalog.ts';
import { encodeChunk } from './chunk.ts';
import type { EntryIndex } from './entry-index.ts';
import type { Generations } from './generations.ts';
import type { Body, GroupCommit } from './group-commit.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { isSamePlace, type Slot, slotOf } from './slot.ts';

/** Survivors are copied when they hold less than this share of a generation. */
const STRAGGLER_SHARE = 0.25;
/** A current generation in which nothing lives is sealed from this size on; below, it is not worth a new one. */
const SPENT_BYTES = 32 * 1024 * 1024;

/** For want of room a generation is compacted when at least this share of it is dead: what is copied is at most seven times what
 *  comes back. */
const PRESSED_SHARE = 1 / 8;

export interface ReclaimOptions {
  /** What a generation holds when it is full, bytes. */
  generationBytes: number;
  newWriter: () => number;
  budget: MemoryBudget;
  /** Bytes of the disk that copies may take before what they replace is gone. */
  elbow: () => number;
  log: Logger | undefined;
}

export class Reclaim {
  readonly #catalog: Catalog;
  readonly #index: EntryIndex;
  readonly #generations: Generations;
  readonly #commits: GroupCommit;
  readonly #options: ReclaimOptions;
  /** Tried and not movable: a damaged survivor, or one whose body is mostly elsewhere. */
  readonly #stay = new Set<number>();
  #running: Promise<void> | undefined;
  #again = false;
  /** Bytes wanted at once. */
  #wanted = 0;
  #closed = false;

  constructor(catalog: Catalog, commits: GroupCommit, options: ReclaimOptions) {
    this.#catalog = catalog;
    this.#index = catalog.index;
    this.#generations = catalog.generations;
    this.#commits = commits;
    this.#options = options;
  }

  /** Cheap; called whenever something may have left. */
  check(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#running ??= this.#run()
      .catch((cause) => this.#options.log?.warn({ reason: messageOf(cause) }, 'reclaim stopped'))
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** For want of room: also gives back a current generation in which nothing lives, however small, and copies survivors out of
   *  turn until `bytes` have come back, or as many as can. */
  async squeeze(bytes: number): Promise<void> {
    this.#wanted = Math.max(this.#wanted, bytes);
    this.check();
    await this.#running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      const { current } = this.#generations;
      const wanted = this.#wanted;
      this.#wanted = 0;
      const worth = wanted > 0 ? 0 : Math.min(SPENT_BYTES, this.#options.generationBytes / 2);
      const { number, written } = current ?? { number: 0, written: 0 };
      const dead = written - this.#generations.live(number);
      const pressed = wanted > 0 && dead > this.#options.generationBytes * PRESSED_SHARE;
      if (written > worth && (pressed || this.#generations.spent(number))) await this.#commits.roll();
      const freed = await this.#removeSpent();
      if (wanted > freed) await this.#compact(wanted - freed);
      await this.#copyStragglers();
    }
  }

  /** Out of turn, the emptiest first. */
  async #compact(wanted: number): Promise<void> {
    const { generationBytes, elbow } = this.#options;
    const candidates: { number: number; live: number; dead: number }[] = [];
    for (const number of this.#generations.sealed) {
      const live = this.#generations.live(number);
      const dead = (await this.#generations.bytesOf(number)) - live;
      if (live > 0 && dead > generationBytes * PRESSED_SHARE && !this.#generations.pinned(number))
        candidates.push({ number, live, dead });
    }
    for (const { number, live, dead } of candidates.sort((a, b) => a.live - b.live)) {
      if (wanted <= 0 || this.#closed || live > elbow()) return;
      if (!(await this.#evacuate(number, Number.POSITIVE_INFINITY))) continue;
      await this.#removeSpent();
      wanted -= dead;
    }
  }

  /** Resolves with the bytes that came back. */
  async #removeSpent(): Promise<number> {
    const spent = this.#generations.sealed.filter((number) => this.#generations.spent(number));
    if (spent.length === 0) return 0;
    let freed = 0;
    // The index on the disk must have forgotten their entries first, or the next opening would miss them.
    await this.#index.flushed();
    for (const number of spent) {
      const bytes = await this.#generations.bytesOf(number);
      if (!(await this.#generations.remove(number))) continue;
      freed += bytes;
      this.#options.log?.debug({ number }, 'generation removed');
    }
    return freed;
  }

  async #share(number: number): Promise<number> {
    return this.#generations.live(number) / Math.max(1, await this.#generations.bytesOf(number));
  }

  /** The oldest one with few survivors, if the drain has passed it: only dead letters are left in it, or the next one is gone or
   *  nearly empty too. While the drain is still at it, its entries are about to leave anyway. */
  async #straggler(): Promise<number | undefined> {
    const { numbers, sealed } = this.#generations;
    for (const number of sealed) {
      if (this.#stay.has(number) || this.#generations.live(number) === 0) continue;
      if ((await this.#generations.bytesOf(number)) < this.#options.generationBytes / 16) continue;
      if ((await this.#share(number)) >= STRAGGLER_SHARE) return undefined;
      const next = numbers[numbers.indexOf(number) + 1];
      const passed =
        this.#generations.waiting(number) === 0 ||
        next !== number + 1 ||
        (await this.#share(next)) < STRAGGLER_SHARE;
      return passed ? number : undefined;
    }
    return undefined;
  }

  async #copyStragglers(): Promise<void> {
    for (;;) {
      const number = await this.#straggler();
      if (number === undefined || this.#closed) return;
      const bound = this.#options.generationBytes * STRAGGLER_SHARE * 2;
      if (!(await this.#evacuate(number, bound))) this.#stay.add(number);
      await this.#removeSpent();
    }
  }

  /** Copies all that lives in it forward, where that is `bound` bytes at most. */
  async #evacuate(number: number, bound: number): Promise<boolean> {
    const survivors: Slot[] = [];
    let bytes = 0;
    for (const destination of this.#catalog.totals.destinations)
      for await (const slot of this.#index.lane(destination)) {
        if (!slot.parts.some(([part]) => part === number)) continue;
        bytes += slot.bytes;
        if (bytes > bound || slot.state === 'quarantined') return false;
        survivors.push(slot);
      }
    for (const slot of survivors) {
      if (this.#closed) return true;
      if (!(await this.#copyForward(slot))) return false;
    }
    this.#options.log?.debug({ number, entries: survivors.length, bytes }, 'survivors copied forward');
    return this.#generations.live(number) === 0;
  }

  async #copyForward(slot: Slot): Promise<boolean> {
    const { budget } = this.#options;
    const unpin = this.#generations.pin(slot.parts.map(([number]) => number));
    const body: Body = { writer: this.#options.newWriter(), extents: [], unpin: [unpin] };
    try {
      const [record] = await readRecords(this.#generations, [slot]);
      if (typeof record !== 'object') return (await this.#index.find(slot.id)) === undefined;
      let inline: Buffer | undefined;
      for await (const payload of readBody(this.#generations, record)) {
        const chunk = encodeChunk(budget, body.writer, [payload], payload.length);
        if (record.inline) {
          inline = chunk;
          continue;
        }
        // As many as the budget has room for, or each would wait for a batch of its own. A failure is found at the commit, through the body.
        this.#commits.submit(body, [chunk]).catch(() => {});
        await budget.room();
      }
      const { head, bytes, sha256, md5, trailers, ...moved } = record;
      const draft = { head, bytes, sha256, ...(md5 !== undefined && { md5 }), trailers };
      const placed = await this.#commits.submit(body, [], { ...draft, inline, moved });
      const { at, parts } = slotOf(placed!.record, placed!.at, placed!.recordBytes);
      // It may have been delivered, dropped or tried meanwhile: only its place changes. What was edited is elsewhere by now.
      await this.#catalog.change(slot.id, (now) =>
        isSamePlace(now.at, slot.at) ? { now: { ...now, at, parts } } : undefined,
      );
      return true;
    } catch (cause) {
      this.#options.log?.warn({ id: slot.id, reason: messageOf(cause) }, 'an entry cannot be copied forward');
      return false;
    } finally {
      for (const release of body.unpin) release();
    }
  }
}
