// Another head for a dead letter: a new record beside the chunks that are there. The body is not copied; a small one, which
// stands behind its record, moves with it.

import type { EntryEdit } from '../store.ts';
import type { Catalog } from './catalog.ts';
import type { EntryRecord } from './entry-record.ts';
import type { GroupCommit } from './group-commit.ts';
import { isSamePlace, type Slot, slotOf } from './slot.ts';

/** `load`: slot and record as they are now. false where the entry is no dead letter, or its record is damaged. */
export const editHead = async (
  catalog: Catalog,
  commits: GroupCommit,
  load: () => Promise<{ slot: Slot; record: EntryRecord | undefined } | undefined>,
  edit: EntryEdit,
  detail: string,
): Promise<boolean> => {
  for (;;) {
    const found = await load();
    if (!found?.record || found.slot.state !== 'dead') return false;
    const { slot, record } = found;
    const { writer, extents, edition = 0, inline, ...rest } = record;
    const body = { writer, extents, unpin: [] };
    const head = { ...record.head, ...edit };
    const moved = { seq: record.seq, committed: record.committed, edition: edition + 1 };
    const placed = await commits.submit(body, [], { ...rest, head, inline, moved });
    const { at, parts, resource } = slotOf(placed!.record, placed!.at, placed!.recordBytes);
    let stale = false;
    const changed = await catalog.change(slot.id, (now) => {
      // Copied forward or edited since it was read: its chunks may be elsewhere, and the other edit is not to be lost.
      stale = !isSamePlace(now.at, slot.at);
      if (stale || now.state !== 'dead' || resource === undefined) return undefined;
      return { now: { ...now, at, parts, resource }, event: { kind: 'edited', detail } };
    });
    if (!stale) return changed !== undefined;
  }
};
