// The changes of the memory store that write a record: compose, edit and move, with the steps of the LevelDB store (compose.ts, edit.ts).

import { createHash } from 'node:crypto';
import type { Catalog } from '../../src/store/leveldb/catalog.ts';
import type { HeadChange } from '../../src/store/leveldb/edit.ts';
import { groupSum } from '../../src/store/leveldb/resources.ts';
import { isSamePlace, type Slot } from '../../src/store/leveldb/slot.ts';
import type { EntryHead } from '../../src/store/store.ts';
import { LaybyError } from '../../src/telemetry/error.ts';
import type { Draft, MemoryCommits } from './memory-commits.ts';
import type { MemoryRecord } from './memory-disk.ts';
import type { MemoryIndex } from './memory-index.ts';
import { type Found, type MemoryRecords, slotFrom } from './memory-records.ts';

export interface ChangeParts {
  commits: MemoryCommits;
  catalog: Catalog;
  index: MemoryIndex;
  records: MemoryRecords;
}

const submit = async (commits: MemoryCommits, draft: Draft): Promise<MemoryRecord> => {
  const record = await commits.submit({ bytes: 0, draft, failure: () => undefined, fail: () => {} });
  return record!;
};

/** The sum of sums, as S3 makes its ETags. */
const joined = (algorithm: string, sums: string[]): string => {
  const hash = createHash(algorithm);
  for (const sum of sums) hash.update(sum, 'hex');
  return `${hash.digest('hex')}-${sums.length}`;
};

/** See Store.compose. `leaves` is told what leaves with the new entry, before that is committed. */
export const compose = async (
  { commits, catalog, index, records }: ChangeParts,
  head: EntryHead,
  group: string,
  parts: readonly string[],
  leaves: (slots: readonly Slot[]) => void,
): Promise<MemoryRecord> => {
  const ids = new Set<string>();
  for await (const slot of index.resource(head.destination, groupSum(group))) ids.add(slot.id);
  return catalog.unchanged([...ids], async () => {
    const staged = new Map<string, Found>();
    for await (const found of records.staged(head.destination, group))
      if (ids.has(found.slot.id)) staged.set(found.slot.id, found);
    const of = parts.map((id) => {
      const found = staged.get(id);
      if (found) return found.record;
      throw new LaybyError('LAYBY_ENTRY_UNKNOWN', `Entry ${id} is not staged in ${group}`, {
        remedy: 'See the audit trail for what became of it',
      });
    });
    leaves([...staged.values()].map(({ slot }) => slot));
    const sha256 = of.map((part) => part.sha256);
    const md5 = of.flatMap((part) => part.md5 ?? []);
    return submit(commits, {
      head,
      bytes: of.reduce((sum, { bytes }) => sum + bytes, 0),
      sha256: joined('sha256', sha256),
      ...(md5.length === of.length && { md5: joined('md5', md5) }),
      trailers: [],
      bodies: of.flatMap(({ bodies }) => bodies),
      moved: false,
      composes: group,
    });
  });
};

/** See Store.edit and Store.move. */
export const changeHead = async (
  { commits, catalog, index, records }: ChangeParts,
  id: string,
  { may, head: changed, restart, event }: HeadChange,
): Promise<boolean> => {
  for (;;) {
    const found = await records.find(id);
    if (!found?.record || !may(found.slot)) return false;
    const { slot, record: before } = found;
    const { seq: _, committed: __, counter: ___, ...rest } = before;
    const head = { ...before.head, ...changed };
    const edition = (before.edition ?? 0) + 1;
    const record = await submit(commits, { ...rest, head, edition, moved: true, before });
    const { destination, at, parts, resource } = slotFrom(record);
    const noted = index.progressNotes;
    const progress = restart ? await index.progressOf(slot.id) : undefined;
    let stale = false;
    const done = await catalog.change(slot.id, (now) => {
      stale = !isSamePlace(now.at, slot.at) || (restart && noted !== index.progressNotes);
      if (stale || !may(now) || resource === undefined) return undefined;
      if (progress !== undefined) {
        index.setProgress(slot.id, undefined);
        index.setProgress(`${slot.id}~${edition}`, progress);
      }
      const { stuck: _, ...kept } = now;
      return { now: { ...kept, destination, at, parts, resource }, event };
    });
    if (!stale) return done !== undefined;
  }
};
