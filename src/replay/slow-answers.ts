// Which deliveries only wait for an answer. A server that is slow, or hangs, keeps a request open for up to an hour (egress/egress.ts);
// nothing of it is on the link, so other entries of the destination need not wait for it.

import type { Lease } from './delivery-ledger.ts';

/** Nothing of a delivery has moved for so long, ms. */
const SLOW_AFTER_MS = 60_000;
/** More of them than this count as in flight like any other. */
const MOST = 16;

/** How many of these deliveries wait for a slow answer at `now`, ms. */
export function slowAnswers(leases: Iterable<Lease>, now: number): number {
  let slow = 0;
  for (const { isEntry, movedAt } of leases) if (isEntry && now - movedAt >= SLOW_AFTER_MS) slow += 1;
  return Math.min(MOST, slow);
}

/** When the next of them will, if nothing of it moves until then, ms; Infinity: none. */
export function nextSlowAnswer(leases: Iterable<Lease>, now: number): number {
  let next = Number.POSITIVE_INFINITY;
  for (const { isEntry, movedAt } of leases)
    if (isEntry && movedAt + SLOW_AFTER_MS > now) next = Math.min(next, movedAt + SLOW_AFTER_MS);
  return next;
}
