// Ids of entries that came by failover, where the sidecar gave none: UUIDv7 (RFC 9562). Randomness is drawn for many at once:
// asking the system for each costs more than all else about an id.

import { randomFillSync } from 'node:crypto';
import { v7 } from 'uuid';

const BYTES = 16;
const pool = Buffer.alloc(256 * BYTES);
let next = pool.length;

export function entryId(): string {
  if (next === pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  const random = pool.subarray(next, next + BYTES);
  next += BYTES;
  return v7({ random });
}
