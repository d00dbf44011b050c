// Makes one entry out of staged ones without copying a byte: the new record lists the chunks of its parts. It is one record in one
// synced batch, and in the same turn the group leaves the index; a crash in between is settled by the opening, which finds
// the record and takes the group out (recovery.ts).

import { createHash } from 'node:crypto';
import { LaybyError } from '../../telemetry/error.ts';
import type { EntryHead } from '../store.ts';
import { readRecords } from './body-reader.ts';
import type { Catalog } from './catalog.ts';
import type { EntryRecord, Extent } from './entry-record.ts';
import type { GroupCommit, Placed } from './group-commit.ts';
import { groupSum } from './resources.ts';
import type { Slot } from './slot.ts';

/** Records read at once. */
const TOGETHER = 64;

interface Staged {
  slot: Slot;
  record: EntryRecord;
}

/** What is staged in a group, the newest first. What is damaged is not in it. */
export async function* stagedIn(
  catalog: Catalog,
  destination: string,
  group: string,
): AsyncGenerator<Staged> {
  let page: Slot[] = [];
  const read = async (): Promise<Staged[]> => {
    const slots = page;
    page = [];
    const records = await readRecords(catalog.generations, slots);
    return slots.flatMap((slot, i) => {
      const record = records[i];
      return typeof record === 'object' && record.head.group === group ? [{ slot, record }] : [];
    });
  };
  for await (const slot of catalog.index.resource(destination, groupSum(group))) {
    if (slot.state === 'staged') page.push(slot);
    if (page.length === TOGETHER) yield* await read();
  }
  yield* await read();
}

const unknown = (group: string, id: string): LaybyError =>
  new LaybyError('LAYBY_ENTRY_UNKNOWN', `Entry ${id} is not staged in ${group}`, {
    remedy: 'See the audit trail for what became of it',
  });

/** See Store.compose. */
export const compose = async (
  { catalog, commits, writer }: { catalog: Catalog; commits: GroupCommit; writer: number },
  head: EntryHead,
  group: string,
  parts: readonly string[],
): Promise<Placed> => {
  const ids = new Set<string>();
  for await (const slot of catalog.index.resource(head.destination, groupSum(group))) ids.add(slot.id);
  return catalog.unchanged([...ids], async () => {
    const unpin: (() => void)[] = [];
    try {
      const staged = new Map<string, Staged>();
      for await (const found of stagedIn(catalog, head.destination, group)) {
        // What came meanwhile could still change; it stays.
        if (!ids.has(found.slot.id)) continue;
        unpin.push(catalog.generations.pin(found.slot.parts.map(([number]) => number)));
        staged.set(found.slot.id, found);
      }
      const records = parts.map((id) => staged.get(id)?.record ?? throwIt(unknown(group, id)));
      const md5 = records.every((part) => part.md5 !== undefined)
        ? joined(
            'md5',
            records.map((part) => part.md5!),
          )
        : undefined;
      const placed = await commits.submit({ writer, extents: records.flatMap(extentsOf), unpin: [] }, [], {
        head,
        bytes: records.reduce((sum, { bytes }) => sum + bytes, 0),
        sha256: joined(
          'sha256',
          records.map(({ sha256 }) => sha256),
        ),
        ...(md5 !== undefined && { md5 }),
        trailers: [],
        composed: { group, of: [...staged.values()].map(({ slot }) => slot) },
      });
      return placed!;
    } finally {
      for (const release of unpin) release();
    }
  });
};

const throwIt = (error: Error): never => {
  throw error;
};

const extentsOf = ({ extents, writer: own }: EntryRecord): Extent[] =>
  extents.map(([generation, first, count, size, writer = own]) => [generation, first, count, size, writer]);

/** The sum of sums, as S3 makes its ETags. */
const joined = (algorithm: string, sums: string[]): string => {
  const hash = createHash(algorithm);
  for (const sum of sums) hash.update(sum, 'hex');
  return `${hash.digest('hex')}-${sums.length}`;
};
