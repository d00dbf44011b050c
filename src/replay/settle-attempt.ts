// What follows for an entry from the result of a delivery attempt: it leaves, or waits, and for how long. Recorded in the store before the
// lease goes back to the ledger.

import { forEntry } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { Entry, KeptAnswer, Stuck } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { pauseMs } from './backoff.ts';
import type { Result } from './deliver/deliver.ts';
import type { DeliveryLedger, Returned } from './delivery-ledger.ts';
import { GIVE_UP_AFTER_MS, isGivenUp, pauseLimit } from './give-up.ts';
import { type LinkPause, madeProgress } from './link-pause.ts';
import type { ReplayOptions } from './options.ts';
import type { Refusals } from './refusals.ts';
import type { Asking, RetryBudget } from './retry-budget.ts';
import { meshAuthorizes } from './unauthorized.ts';

export interface Settling extends Pick<ReplayOptions, 'store' | 'log' | 'count' | 'hurried' | 'onOutcome'> {
  destination: Destination;
  ledger: DeliveryLedger;
  budget: RetryBudget;
  pause: LinkPause;
  /** Those with credentials that are refused, and those that a portal answers. */
  refusals: Refusals;
  /** Answers in a row that did not take the entry, before this attempt. */
  refused: number;
  asking: Asking;
  /** It was not reached. */
  lost: (result: Result & { kind: 'no-link' }) => void;
}

/** `unrecorded`: the entry has left and the disk did not take that; the store tries again by itself. */
export type Settled = Returned | 'left' | 'unrecorded';

/** Rejects with LAYBY_STORE_FAILED where an outcome that lets the entry wait could not be recorded. */
export async function settleAttempt(entry: Entry, result: Result, settling: Settling): Promise<Settled> {
  const { log, count, onOutcome, destination, ledger, budget, pause, refusals, asking } = settling;
  const { id } = entry;
  const { name, replay } = destination;
  const { max } = replay.retry;
  if (result.kind === 'no-link') {
    const { suspicious } = result;
    const next = suspicious && refusals.suspicious(id, performance.now());
    if (suspicious && next && 'dead' in next)
      return die(entry, suspicious.status, `${result.words}; ${next.dead}`, suspicious.answer, settling);
    settling.lost(result);
    return wait(entry, next && 'pauseMs' in next ? next.pauseMs : 0, result.words, settling);
  }
  pause.reached();
  onOutcome(name, true);
  const { status, words } = result;
  const now = performance.now();
  const inForce = forEntry(destination, entry);
  // The policy may say of a status that it is no answer.
  const isNone = result.outcome === 'dead' && inForce.retries?.on.includes(status);
  const outcome = isNone ? 'retry' : result.outcome;
  if (outcome !== 'unauthorized') refusals.otherwise(id);
  if (outcome === 'delivered' || outcome === 'dead') {
    // A destination that had refused everything takes entries again.
    if (budget.taken(asking, now)) ledger.wake();
    if (outcome === 'dead') {
      refusals.forget(id);
      return die(entry, status, words, result.answer, settling);
    }
    count(name, outcome, entry.bytes);
    const detail = entry.attempts === 0 ? `${status}` : `${status} on try ${entry.attempts + 1}`;
    for (const other of refusals.delivered(id, now)) ledger.hurry(other);
    return leave(entry, settling, ({ store }) => store.delivered(id, detail));
  }
  budget.refused(asking, now, max);
  const giveUpAfter = replay.retry.giveUpAfter ?? GIVE_UP_AFTER_MS;
  const stuck = refusals.refused(entry, { status, giveUpAfter }, now, Date.now());
  const next =
    outcome === 'unauthorized'
      ? refusals.unauthorized(id, meshAuthorizes(inForce), now, stuck && giveUpAfter)
      : undefined;
  const givenUp = stuck && isGivenUp(stuck, giveUpAfter) ? stuckWords(stuck) : undefined;
  const why = next && 'dead' in next ? next.dead : givenUp;
  if (why !== undefined) {
    refusals.forget(id);
    return die(entry, status, `${why}${words && `; the answer: ${words}`}`, result.answer, settling);
  }
  count(name, outcome, entry.bytes);
  const said = saidBy(status, words);
  const { retryAfter = 0 } = result;
  if (retryAfter > 0) pause.asked(now + retryAfter, `${said} (Retry-After)`);
  const refused = madeProgress(result.moved) ? 1 : settling.refused + 1;
  const pauses =
    next && 'pauseMs' in next ? next.pauseMs : pauseMs(refused, pauseLimit(stuck, max, giveUpAfter));
  const ms = Math.max(retryAfter, pauses);
  log[next ? 'error' : 'info'](
    { id, destination: name, status, pause: ms },
    next ? 'refused: are the credentials right?' : 'not taken yet',
  );
  return { ...(await wait(entry, ms, said, settling, stuck)), refusals: refused };
}

const stuckWords = ({ answers, since }: Stuck): string =>
  `refused ${answers} times since ${new Date(since).toISOString()}, while other requests were delivered`;

const saidBy = (status: number, words: string): string => `${status}${words ? `: ${words}` : ''}`;

/** It waits for its next attempt; a pause that was ended meanwhile has ended. */
async function wait(
  { id }: Entry,
  ms: number,
  said: string,
  { store, ledger }: Settling,
  stuck?: Stuck,
): Promise<Returned> {
  const { wakes } = ledger;
  const entry = await store.failed(id, said, stuck);
  return { notBefore: wakes === ledger.wakes ? performance.now() + ms : 0, entry };
}

function die(
  entry: Entry,
  status: number,
  words: string,
  answer: KeptAnswer | undefined,
  settling: Settling,
): Promise<Settled> {
  const { log, count, destination } = settling;
  const { id } = entry;
  count(destination.name, 'dead', entry.bytes);
  log.warn({ id, destination: destination.name, status }, 'refused: now a dead letter');
  return leave(entry, settling, ({ store }) => store.dead(id, saidBy(status, words), answer));
}

async function leave(
  { id }: Entry,
  settling: Settling,
  record: (settling: Settling) => Promise<void>,
): Promise<'left' | 'unrecorded'> {
  settling.hurried.delete(id);
  try {
    await record(settling);
    return 'left';
  } catch (error) {
    if (!(error instanceof LaybyError) || error.code !== 'LAYBY_STORE_FAILED') throw error;
    settling.log.error({ err: error, id }, 'delivery outcome is not on the disk yet');
    return 'unrecorded';
  }
}
