// How the memory store finds slots and reads records, and what it does with damaged ones (as leveldb-store.ts and compose.ts do).

import type { Catalog } from '../../src/store/leveldb/catalog.ts';
import { KIND } from '../../src/store/leveldb/keys.ts';
import { groupSum } from '../../src/store/leveldb/resources.ts';
import { isSamePlace, type Slot, slotOf } from '../../src/store/leveldb/slot.ts';
import { type MemoryDisk, type MemoryRecord, RECORD_BYTES, type StoreFaults } from './memory-disk.ts';
import type { MemoryIndex } from './memory-index.ts';

/** Records read at once. */
const TOGETHER = 64;
const MISSING = 'the entry record is missing';

export interface Found {
  slot: Slot;
  record: MemoryRecord;
}

/** The slot of a new record. */
export const slotFrom = (record: MemoryRecord): Slot => {
  const kind = record.moved ? KIND.copied : KIND.entry;
  const at = { generation: 1, counter: record.counter, kind, writer: 0 };
  return slotOf(record, at, record.bytes + RECORD_BYTES);
};

export interface RecordsParts {
  disk: MemoryDisk;
  index: MemoryIndex;
  catalog: Catalog;
  faults: StoreFaults;
  touch: (label: string) => Promise<void>;
}

export class MemoryRecords {
  readonly #parts: RecordsParts;

  constructor(parts: RecordsParts) {
    this.#parts = parts;
  }

  /** The record of each slot, or what is wrong with it. */
  async read(slots: readonly Slot[]): Promise<(MemoryRecord | string)[]> {
    if (slots.length === 0) return [];
    const { disk, faults, touch } = this.#parts;
    await touch('read record');
    return slots.map(({ id, at }) => {
      const record = disk.records.get(at.counter);
      if (!record) return MISSING;
      if (faults.recordDamaged?.(id)) record.damaged ??= 'the CRC32C of the entry record does not match';
      return record.damaged ?? record;
    });
  }

  /** Where the record is damaged, the entry is quarantined by then and comes without it. */
  async find(id: string): Promise<{ slot: Slot; record: MemoryRecord | undefined } | undefined> {
    const { index, catalog } = this.#parts;
    for (let slot = await index.find(id); slot; ) {
      const [record] = await this.read([slot]);
      if (typeof record === 'object') return { slot, record };
      const now = await index.find(id);
      if (now && isSamePlace(now.at, slot.at)) {
        const quarantined = await catalog.quarantine(id, record ?? MISSING);
        return { slot: quarantined ?? now, record: undefined };
      }
      slot = now;
    }
    return undefined;
  }

  /** What is staged in a group, the newest first. What is damaged is not in it. */
  async *staged(destination: string, group: string): AsyncGenerator<Found> {
    let page: Slot[] = [];
    const read = async (): Promise<Found[]> => {
      const slots = page;
      page = [];
      const records = await this.read(slots);
      return slots.flatMap((slot, i) => {
        const record = records[i];
        return typeof record === 'object' && record.head.group === group ? [{ slot, record }] : [];
      });
    };
    for await (const slot of this.#parts.index.resource(destination, groupSum(group))) {
      if (slot.state === 'staged') page.push(slot);
      if (page.length === TOGETHER) yield* await read();
    }
    yield* await read();
  }
}
