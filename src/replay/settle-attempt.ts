// What follows for an entry from the result of a delivery attempt: it leaves, or waits, and for how long. Recorded in the store before the
// lease goes back to the ledger.

import type { Destination } from '../policy/policy.ts';
import type { Entry } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { pauseMs } from './backoff.ts';
import type { Result } from './deliver/deliver.ts';
import type { Returned } from './delivery-ledger.ts';
import { type LinkPause, madeProgress } from './link-pause.ts';
import type { ReplayOptions } from './options.ts';
import type { Asking, RetryBudget } from './retry-budget.ts';

/** The pause after a 401 or 403, ms: credentials get fixed by people. */
const UNAUTHORIZED_MS = 30_000;

export interface Settling extends Pick<ReplayOptions, 'store' | 'log' | 'count' | 'hurried' | 'onOutcome'> {
  destination: Destination;
  budget: RetryBudget;
  pause: LinkPause;
  /** Of the entry, before this attempt, in a row. */
  refusals: number;
  asking: Asking;
  /** It was not reached. */
  lost: (result: Result & { kind: 'no-link' }) => void;
  /** A destination that had refused everything takes entries again. */
  recovered: () => void;
}

/** Resolves with `unrecorded` where the entry has left and the disk did not take that: the store tries again by itself. Rejects with
 *  LAYBY_STORE_FAILED where an outcome that lets it wait could not be recorded. */
export async function settleAttempt(
  entry: Entry,
  result: Result,
  settling: Settling,
): Promise<Returned | 'left' | 'unrecorded'> {
  const { store, log, count, hurried, onOutcome, destination, budget, pause, asking } = settling;
  const { id } = entry;
  const { name, replay } = destination;
  const { max } = replay.retry;
  if (result.kind === 'no-link') {
    settling.lost(result);
    return { notBefore: 0, entry: await store.failed(id, result.words) };
  }
  pause.reached();
  onOutcome(name, true);
  count(name, result.outcome, entry.bytes);
  const said = `${result.status}${result.words ? `: ${result.words}` : ''}`;
  if (result.outcome === 'delivered' || result.outcome === 'dead') {
    if (budget.taken(asking, performance.now())) settling.recovered();
    hurried.delete(id);
    try {
      if (result.outcome === 'delivered')
        await store.delivered(
          id,
          entry.attempts === 0 ? `${result.status}` : `${result.status} on try ${entry.attempts + 1}`,
        );
      else {
        log.warn({ id, destination: name, status: result.status }, 'refused: now a dead letter');
        await store.dead(id, said, result.answer);
      }
      return 'left';
    } catch (error) {
      if (!(error instanceof LaybyError) || error.code !== 'LAYBY_STORE_FAILED') throw error;
      log.error({ err: error, id }, 'delivery outcome is not on the disk yet');
      return 'unrecorded';
    }
  }
  const now = performance.now();
  budget.refused(asking, now, max);
  const refusals = madeProgress(result.moved) ? 1 : settling.refusals + 1;
  const isUnauthorized = result.outcome === 'unauthorized';
  const { retryAfter = 0 } = result;
  const wait = isUnauthorized ? UNAUTHORIZED_MS : Math.max(retryAfter, pauseMs(refusals, max));
  if (retryAfter > 0) pause.asked(now + retryAfter, `${said} (Retry-After)`);
  log[isUnauthorized ? 'error' : 'info'](
    { id, destination: name, status: result.status, pause: wait },
    isUnauthorized ? 'refused: are the credentials right?' : 'not taken yet',
  );
  return { notBefore: performance.now() + wait, refusals, entry: await store.failed(id, said) };
}
