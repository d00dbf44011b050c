// Counts of each destination, kept while entries come and go, so that asking costs nothing however long the queue is. The
// oldest entry that waits is looked up in the lane when the one before it leaves.

import type { Totals } from '../store.ts';
import { heldBytes, type Slot } from './slot.ts';

interface Lane extends Totals {
  /** Set while the next oldest is looked up: what changed meanwhile. */
  lookup?: { done: Promise<void>; left: Set<number>; came: Slot | undefined };
}

/** Waiting, staged and dead entries of one destination and class. */
interface ClassCount {
  entries: number;
  /** None of them has a smaller seq. */
  floor: number;
}

export class LaneTotals {
  readonly #lanes = new Map<string, Lane>();
  readonly #classes = new Map<string, Map<number, ClassCount>>();
  /** Entries that came into a lane out of turn, from another one. */
  moves = 0;
  readonly #scan: (destination: string, after: number) => AsyncIterable<Slot>;

  constructor(scan: (destination: string, after: number) => AsyncIterable<Slot>) {
    this.#scan = scan;
  }

  #lane(destination: string): Lane {
    let lane = this.#lanes.get(destination);
    if (!lane) {
      lane = { entries: 0, bytes: 0, dead: 0, staged: 0, quarantined: 0, held: 0 };
      this.#lanes.set(destination, lane);
    }
    return lane;
  }

  get destinations(): string[] {
    return [...this.#lanes.keys()];
  }

  /** No entry of the lane that waits has a smaller seq. */
  firstSeq(destination: string): number | undefined {
    return this.#lanes.get(destination)?.oldest?.seq;
  }

  /** A slot as it was and as it is now; undefined for one that was not there, or is not any more. */
  change(before: Slot | undefined, now: Slot | undefined): void {
    if (before && now && before.destination !== now.destination) {
      this.moves++;
      this.change(before, undefined);
      this.change(undefined, now);
      return;
    }
    const lane = this.#lane((now ?? before)!.destination);
    if (before) this.#count(lane, before, -1);
    if (now) this.#count(lane, now, 1);
    const waited = before?.state === 'stored';
    const waits = now?.state === 'stored';
    if (waited && !waits) lane.lookup?.left.add(before.seq);
    if (waits && !waited) {
      lane.lookup?.left.delete(now.seq);
      if (lane.lookup && (!lane.lookup.came || now.seq < lane.lookup.came.seq)) lane.lookup.came = now;
      if (!lane.oldest || now.seq < lane.oldest.seq) lane.oldest = oldestOf(now);
    }
    if (lane.entries === 0) delete lane.oldest;
  }

  /** Those of waiting, staged and dead entries. */
  classes(destination: string): number[] {
    return [...(this.#classes.get(destination)?.keys() ?? [])];
  }

  /** No waiting, staged or dead entry of the class has a smaller seq; undefined where there is none. */
  floor(destination: string, cls: number): number | undefined {
    return this.#classes.get(destination)?.get(cls)?.floor;
  }

  /** The first of the class in its lane is at `seq`. New ones come behind those that are there, but for those that are moved (`moves`). */
  raiseFloor(destination: string, cls: number, seq: number): void {
    const count = this.#classes.get(destination)?.get(cls);
    if (count) count.floor = Math.max(count.floor, seq);
  }

  #countClass({ destination, class: cls, seq }: Slot, sign: 1 | -1): void {
    const classes = this.#classes.get(destination) ?? new Map<number, ClassCount>();
    this.#classes.set(destination, classes);
    const { entries, floor } = classes.get(cls) ?? { entries: 0, floor: seq };
    if (entries + sign > 0) classes.set(cls, { entries: entries + sign, floor: Math.min(floor, seq) });
    else classes.delete(cls);
  }

  #count(lane: Lane, slot: Slot, sign: 1 | -1): void {
    lane.held += sign * heldBytes(slot);
    if (slot.state !== 'quarantined') this.#countClass(slot, sign);
    if (slot.state === 'dead') lane.dead += sign;
    else if (slot.state === 'staged') lane.staged += sign;
    else if (slot.state === 'quarantined') lane.quarantined += sign;
    else {
      lane.entries += sign;
      lane.bytes += sign * slot.bytes;
    }
  }

  /** After a slot left: finds the new oldest where it was the oldest. */
  async settle(left: Slot): Promise<void> {
    const lane = this.#lane(left.destination);
    if (lane.lookup) return lane.lookup.done;
    if (lane.oldest?.seq !== left.seq) return;
    const done = this.#lookUp(left.destination, lane);
    return done;
  }

  async #lookUp(destination: string, lane: Lane): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const lookup: NonNullable<Lane['lookup']> = { done: promise, left: new Set(), came: undefined };
    lane.lookup = lookup;
    try {
      while (lane.entries > 0) {
        const from = (lane.oldest?.seq ?? 1) - 1;
        lookup.left.clear();
        lookup.came = undefined;
        let found: Slot | undefined;
        for await (const slot of this.#scan(destination, from)) {
          if (slot.state !== 'stored') continue;
          found = slot;
          break;
        }
        const came = lookup.came as Slot | undefined;
        if (came && (!found || came.seq < found.seq)) found = came;
        if (!found && lookup.left.size === 0) break;
        if (!found || lookup.left.has(found.seq)) continue;
        lane.oldest = oldestOf(found);
        break;
      }
    } finally {
      delete lane.lookup;
      resolve();
    }
  }

  totals(): ReadonlyMap<string, Totals> {
    return this.#lanes;
  }
}

const oldestOf = ({ seq, id, receivedAt }: Slot): NonNullable<Totals['oldest']> => ({ seq, id, receivedAt });
