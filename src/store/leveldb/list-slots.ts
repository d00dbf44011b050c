// Slots in seq order, of one lane or of all of them merged, in pages: small at first, since most callers want the next few,
// and never more than one page of each lane in memory.

import type { EntryState, ListOptions } from '../store.ts';
import type { Catalog } from './catalog.ts';
import type { Slot } from './slot.ts';

const FIRST_PAGE = 8;
const PAGE = 64;

/** `limit` is how many the caller wants at first: it may ask for more. */
export async function* listSlots(catalog: Catalog, options: ListOptions): AsyncGenerator<Slot[]> {
  const { destination, state, after = 0, limit = Number.POSITIVE_INFINITY } = options;
  const totals = catalog.totals.totals();
  const lanes: AsyncGenerator<Slot>[] = [];
  for (const name of destination === undefined ? totals.keys() : [destination]) {
    const lane = totals.get(name);
    if (!lane) continue;
    const waiting = state === 'stored' || state === 'sending' || state === 'undelivered';
    if (waiting && !lane.oldest) continue;
    if ((state === 'dead' && lane.dead === 0) || (state === 'quarantined' && lane.quarantined === 0))
      continue;
    // Skips the graves of what was delivered: LevelDB would walk over each of them.
    const from = waiting ? Math.max(after, lane.oldest!.seq - 1) : after;
    lanes.push(catalog.index.lane(name, from, Math.min(limit, FIRST_PAGE)));
  }
  let size = Math.min(FIRST_PAGE, limit);
  let page: Slot[] = [];
  for await (const slot of merge(lanes)) {
    if (!isListed(state, slot.state, catalog.stateOf(slot))) continue;
    page.push(slot);
    if (page.length < size) continue;
    yield page;
    page = [];
    size = Math.min(PAGE, size * 2);
  }
  if (page.length > 0) yield page;
}

/** `kept`: its state on the disk; `shown`: the same, or `sending`. */
export const isListed = (wanted: ListOptions['state'], kept: EntryState, shown: EntryState): boolean =>
  wanted === undefined || (wanted === 'undelivered' ? kept === 'stored' : shown === wanted);

/** What may be evicted: the lowest class first, of one class the oldest first. */
export async function* evictableSlots(
  catalog: Catalog,
  below: number,
  destination?: string,
): AsyncGenerator<Slot> {
  const names = destination === undefined ? catalog.totals.destinations : [destination];
  const classes = new Set(names.flatMap((name) => catalog.totals.classes(name)));
  for (const lowest of [...classes].sort((a, b) => a - b)) {
    if (lowest >= below) return;
    for await (const slot of merge(names.map((name) => ofClass(catalog, name, lowest)))) {
      const state = catalog.stateOf(slot);
      if (state !== 'sending') yield slot;
    }
  }
}

/** Those of one lane. What stands before the first of them is walked over once, and not again for each body that wants room:
 *  100,000 entries of a higher class took a second. */
async function* ofClass(catalog: Catalog, destination: string, cls: number): AsyncGenerator<Slot> {
  const from = catalog.totals.floor(destination, cls);
  if (from === undefined) return;
  const { moves } = catalog.totals;
  let first = true;
  for await (const slot of catalog.index.lane(destination, from - 1, FIRST_PAGE)) {
    if (slot.class !== cls || slot.state === 'quarantined') continue;
    if (first && moves === catalog.totals.moves) catalog.totals.raiseFloor(destination, cls, slot.seq);
    first = false;
    yield slot;
  }
}

async function* merge(lanes: AsyncGenerator<Slot>[]): AsyncGenerator<Slot> {
  const heads: { slot: Slot; lane: AsyncGenerator<Slot> }[] = [];
  const advance = async (lane: AsyncGenerator<Slot>): Promise<void> => {
    const { value, done } = await lane.next();
    if (!done) heads.push({ slot: value, lane });
  };
  for (const lane of lanes) await advance(lane);
  while (heads.length > 0) {
    let first = 0;
    for (let i = 1; i < heads.length; i++) if (heads[i]!.slot.seq < heads[first]!.slot.seq) first = i;
    const [{ slot, lane }] = heads.splice(first, 1) as [(typeof heads)[number]];
    yield slot;
    await advance(lane);
  }
}
