// Another head for an entry: a new record beside the chunks that are there. The body is not copied; a small one, which stands
// behind its record, moves with it. The new record counts once the index points at it, so a crash leaves the entry as it was
// before or as it is afterwards. Where the index is lost, the record with the most editions counts (recovery.ts).

import type { EntryEdit, EntryHead, EntryMove, StoreEventKind } from '../store.ts';
import type { Catalog, Change } from './catalog.ts';
import type { EntryRecord } from './entry-record.ts';
import type { GroupCommit } from './group-commit.ts';
import { isSamePlace, type Slot, slotOf } from './slot.ts';

export interface HeadChange {
  /** Whether the entry may be changed. Called again with the slot as it is when the change takes place. */
  may: (slot: Slot) => boolean;
  /** The fields that change. */
  head: Partial<EntryHead>;
  /** What was begun at the destination is given up: the next attempt starts from the first byte. */
  restart: boolean;
  event: { kind: StoreEventKind; detail: string };
}

/** See Store.edit. */
export const editChange = (
  catalog: Catalog,
  { restart = false, ...head }: EntryEdit,
  detail: string,
): HeadChange => ({
  may: (slot) => slot.state === 'dead' || catalog.stateOf(slot) === 'stored',
  ...{ head, restart, event: { kind: 'edited', detail } },
});

/** See Store.move. */
export const moveChange = (catalog: Catalog, { from, ...head }: EntryMove, detail: string): HeadChange => ({
  may: (slot) =>
    slot.destination === from &&
    head.destination !== from &&
    (slot.state === 'dead' || slot.state === 'staged' || catalog.stateOf(slot) === 'stored'),
  ...{ head, restart: true, event: { kind: 'moved', detail } },
});

/** Under which id the progress of a delivery is kept that was given up by this edition of an entry. */
const abandonedId = (id: string, edition: number): string => `${id}~${edition}`;

/** `load`: slot and record as they are now. false where the entry may not be changed, or its record is damaged. */
export const changeHead = async (
  catalog: Catalog,
  commits: GroupCommit,
  load: () => Promise<{ slot: Slot; record: EntryRecord | undefined } | undefined>,
  { may, head: changed, restart, event }: HeadChange,
): Promise<boolean> => {
  const { index, generations } = catalog;
  for (;;) {
    const found = await load();
    if (!found?.record || !may(found.slot)) return false;
    const { slot, record } = found;
    const { writer, extents, edition: before = 0, inline, ...rest } = record;
    const edition = before + 1;
    const head = { ...record.head, ...changed };
    const moved = { seq: record.seq, committed: record.committed, edition };
    const placed = await commits.submit({ writer, extents, unpin: [] }, [], { ...rest, head, inline, moved });
    // Nothing in that generation may live yet.
    const unpin = generations.pin([placed!.at.generation]);
    try {
      const { destination, at, parts, resource } = slotOf(placed!.record, placed!.at, placed!.recordBytes);
      const noted = index.progressNotes;
      const progress = restart ? await index.progressOf(slot.id) : undefined;
      let stale = false;
      const done = await catalog.change(slot.id, (now): Change | undefined => {
        // Copied forward or edited since it was read: its chunks may be elsewhere, and the other edit is not to be lost. Or a
        // delivery has written down progress since.
        stale = !isSamePlace(now.at, slot.at) || (restart && noted !== index.progressNotes);
        if (stale || !may(now) || resource === undefined) return undefined;
        if (progress !== undefined) {
          index.setProgress(slot.id, undefined);
          index.setProgress(abandonedId(slot.id, edition), progress);
        }
        const { stuck: _, ...kept } = now;
        return { now: { ...kept, destination, at, parts, resource }, event };
      });
      if (!stale) return done !== undefined;
    } finally {
      unpin();
    }
  }
};
