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

/** As the index holds it: destination and seq stand in the key; an array takes half the time and space of an object. */
export type PackedSlot = [
  id: string,
  bytes: number,
  cls: number,
  receivedAt: number,
  at: [generation: number, counter: number, kind: Slot['at']['kind'], writer: number],
  parts: Slot['parts'],
  state: Slot['state'],
  attempts: number,
  lastError?: string | null,
  reason?: string,
];

export const packSlot = (slot: Slot): PackedSlot => {
  const { generation, counter, kind, writer } = slot.at;
  const packed: PackedSlot = [
    slot.id,
    slot.bytes,
    slot.class,
    slot.receivedAt,
    [generation, counter, kind, writer],
    slot.parts,
    slot.state,
    slot.attempts,
  ];
  if (slot.lastError !== undefined || slot.reason !== undefined) packed.push(slot.lastError ?? null);
  if (slot.reason !== undefined) packed.push(slot.reason);
  return packed;
};

export const unpackSlot = (place: { destination: string; seq: number }, packed: PackedSlot): Slot => {
  const [id, bytes, cls, receivedAt, at, parts, state, attempts, lastError, reason] = packed;
  const [generation, counter, kind, writer] = at;
  return {
    id,
    ...place,
    bytes,
    class: cls,
    receivedAt,
    at: { generation, counter, kind, writer },
    parts,
    state,
    attempts,
    ...(typeof lastError === 'string' && { lastError }),
    ...(reason !== undefined && { reason }),
  };
};
