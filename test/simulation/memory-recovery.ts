// How the memory store opens: the index as the disk has it, and the records beyond its watermark (as recovery.ts does).

import type { Catalog } from '../../src/store/leveldb/catalog.ts';
import type { MemoryDisk, MemoryRecord } from './memory-disk.ts';
import type { MemoryIndex } from './memory-index.ts';
import { slotFrom } from './memory-records.ts';

interface Recovered {
  disk: MemoryDisk;
  index: MemoryIndex;
  catalog: Catalog;
}

export const recover = ({ disk, index, catalog }: Recovered): void => {
  for (const slot of [...disk.slots.values()].sort((one, other) => one.seq - other.seq)) {
    index.count(slot);
    catalog.count(slot);
  }
  const later = [...disk.records.values()].filter(({ counter }) => counter > disk.watermark);
  for (const record of later.sort((one, other) => one.counter - other.counter)) {
    catalog.clock.found(record.committed);
    // An edit that the index does not know has not been made.
    if (record.moved) disk.garbage.push(record.counter);
    else catalog.add(slotFrom(record), undefined);
    if (record.composes !== undefined) removeGroup({ disk, index, catalog }, record, record.composes);
    index.mark(record.counter);
  }
  if (later.length > 0) index.soon();
};

/** Everything that was staged in the group before the composed entry has left with it. */
const removeGroup = (
  { disk, index, catalog }: Recovered,
  { head, seq }: MemoryRecord,
  group: string,
): void => {
  for (const { head: other, counter } of disk.records.values()) {
    if (other.group !== group || other.destination !== head.destination) continue;
    const slot = index.now(other.id);
    if (slot?.state !== 'staged' || slot.at.counter !== counter || slot.seq >= seq) continue;
    index.remove(slot);
    catalog.totals.change(slot, undefined);
  }
};
