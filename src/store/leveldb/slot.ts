// What the index knows of an entry: enough to order, count, find and remove it without its record.

import type { KeptAnswer, Stuck } from '../store.ts';
import type { EntryRecord } from './entry-record.ts';
import { partsOf } from './entry-record.ts';
import type { GenerationKey } from './keys.ts';
import { groupSum, resourceSum } from './resources.ts';

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
  state: 'stored' | 'staged' | 'dead' | 'quarantined';
  attempts: number;
  lastError?: string;
  stuck?: Stuck;
  reason?: string;
  /** Beside a reason. */
  answer?: KeptAnswer;
  /** Its time to live, ms, and when that is over by the store's clock. */
  expiry?: { ttl: number; at: number };
  /** CRC32C of its resource, or of its group where it is staged (resources.ts). Absent where it was stored before format 3 and is quarantined. */
  resource?: number;
}

export const isSamePlace = (one: Slot['at'], other: Slot['at']): boolean =>
  one.generation === other.generation && one.counter === other.counter;

/** Body and record, bytes. */
export const heldBytes = ({ parts }: Slot): number => parts.reduce((sum, [, bytes]) => sum + bytes, 0);

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
  state: record.head.group === undefined ? 'stored' : 'staged',
  attempts: 0,
  resource: record.head.group === undefined ? resourceSum(record.head.url) : groupSum(record.head.group),
  ...(record.head.ttl !== undefined && {
    expiry: { ttl: record.head.ttl, at: (record.committed.clock ?? 0) + record.head.ttl },
  }),
});

/** A dead letter as it was before its first try; its time to live begins anew. `now`: the store's clock. */
export const waitingAgain = (
  { lastError: _, reason: __, answer: ___, stuck: ____, expiry, ...rest }: Slot,
  now: number,
): Slot => ({
  ...rest,
  state: 'stored',
  attempts: 0,
  ...(expiry && { expiry: { ttl: expiry.ttl, at: now + expiry.ttl } }),
});

/** As the index holds it: destination and seq stand in the key; an array takes half the time and space of an object. */
export type PackedSlot = [
  id: string,
  bytes: number,
  cls: number,
  receivedAt: number,
  at: [
    generation: number,
    counter: number,
    kind: Slot['at']['kind'],
    writer: number,
    resource?: number | null,
    stuck?: [since: number, answers: number, counted: number],
  ],
  parts: Slot['parts'],
  state: Slot['state'],
  attempts: number,
  lastError?: string | null,
  reason?: string | null | [reason: string, answer: PackedAnswer],
  /** Since format 2. */
  ttl?: number,
  expiresAt?: number,
];

/** The body in base64: it may be anything. */
type PackedAnswer = [status: number, headers: string[], body: string];

const packReason = ({ reason, answer }: Slot): string | null | [string, PackedAnswer] => {
  if (reason === undefined || !answer) return reason ?? null;
  return [reason, [answer.status, answer.headers, answer.body.toString('base64')]];
};

const unpackReason = (packed: PackedSlot[9]): Pick<Slot, 'reason' | 'answer'> => {
  if (typeof packed === 'string') return { reason: packed };
  if (!packed) return {};
  const [reason, [status, headers, body]] = packed;
  return { reason, answer: { status, headers, body: Buffer.from(body, 'base64') } };
};

/** The resource stands here since format 3, where it needs no place holders, and so does what follows it. */
const packPlace = ({ at, resource, stuck }: Slot): PackedSlot[4] => {
  const { generation, counter, kind, writer } = at;
  if (stuck) {
    const { since, answers, counted } = stuck;
    return [generation, counter, kind, writer, resource ?? null, [since, answers, Math.round(counted)]];
  }
  return resource === undefined
    ? [generation, counter, kind, writer]
    : [generation, counter, kind, writer, resource];
};

export const packSlot = (slot: Slot): PackedSlot => {
  const packed: PackedSlot = [
    slot.id,
    slot.bytes,
    slot.class,
    slot.receivedAt,
    packPlace(slot),
    slot.parts,
    slot.state,
    slot.attempts,
  ];
  const { lastError, reason, expiry } = slot;
  if (lastError !== undefined || reason !== undefined || expiry) packed.push(lastError ?? null);
  if (reason !== undefined || expiry) packed.push(packReason(slot));
  if (expiry) packed.push(expiry.ttl, expiry.at);
  return packed;
};

export const unpackSlot = (place: { destination: string; seq: number }, packed: PackedSlot): Slot => {
  const [id, bytes, cls, receivedAt, at, parts, state, attempts, lastError, reason, ttl, expiresAt] = packed;
  const [generation, counter, kind, writer, resource, stuck] = at;
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
    ...unpackReason(reason),
    ...(typeof resource === 'number' && { resource }),
    ...(stuck && { stuck: { since: stuck[0], answers: stuck[1], counted: stuck[2] } }),
    ...(ttl !== undefined && expiresAt !== undefined && { expiry: { ttl, at: expiresAt } }),
  };
};
