// What the index knows of an entry: enough to order, count, find and remove it without its record.

import type { EntryRecord } from './entry-record.ts';
import { partsOf } from './entry-record.ts';
import type { GenerationKey } from './keys.ts';

export interface Slot {
  id: string;
  destination: string;
  seq: number;
  bytes: number;
  class: number;
  receivedAt: number;
  /** Where its record is. */
  at: GenerationKey & { generation: number };
  /** Its bytes, by generation. */
  parts: [generation: number, bytes: number][];
  /** `sending` is never persisted. */
  state: 'stored' | 'dead' | 'quarantined';
  attempts: number;
  lastError?: string;
  reason?: string;
}

export const slotOf = (
  record: EntryRecord,
  at: GenerationKey & { generation: number },
  recordBytes: number,
): Slot => ({
  id: record.head.id,
  destination: record.head.destination,
  seq: record.seq,
  bytes: record.bytes,
  class: record.head.class,
  receivedAt: record.head.receivedAt,
  at,
  parts: partsOf(record.extents, at.generation, recordBytes),
  state: 'stored',
  attempts: 0,
});
