// When an entry becomes a dead letter that the destination refuses with answers that may change (5xx, 429, 401, 403 and the like), and
// refuses alone: it takes others meanwhile. An outage refuses everything and makes no dead letters, however long it lasts.
//
// What is counted is time, towards the policy's `replay.retry.giveUpAfter`: that between two refusals of the entry, where another request
// was taken in between. So an outage, a machine that is off, and the hours of a link that is down count nothing. An answer that speaks of
// the state of the server (outcome.ts, isBusy) counts a part of that, since it may refuse one path for a day and take it again.
// Pure: the times come in.

import type { Stuck } from '../store/store.ts';
import { isBusy } from './outcome.ts';

/** Where the policy does not say it, ms. */
export const GIVE_UP_AFTER_MS = 3_600_000;
/** What an answer that speaks of the server counts. */
const BUSY_PART = 1 / 24;
/** The longest time that counts between two refusals, as a part of the bound: so there are some of them before the end. */
const LONGEST_COUNTED = 1 / 6;
/** The longest pause between them, as a part of the bound. */
const LONGEST_PAUSE = 1 / 12;
/** With so many the entry is shown as stuck. */
const SHOWN_FROM = 3;
/** After so many the pauses grow beyond the policy's `retry.max`: the body is sent for nothing each time. */
const PATIENT_UNTIL = 8;

export interface Refusal {
  status: number;
  /** Since the refusal before, ms. */
  elapsed: number;
  /** ms */
  giveUpAfter: number;
  /** Wall clock, ms. */
  at: number;
}

/** After a refusal beside a success of another request. */
export const refusedAlone = (
  before: Stuck | undefined,
  { status, elapsed, giveUpAfter, at }: Refusal,
): Stuck => ({
  since: before?.since ?? at,
  answers: (before?.answers ?? 0) + 1,
  counted:
    (before?.counted ?? 0) +
    Math.min(elapsed, giveUpAfter * LONGEST_COUNTED) * (isBusy(status) ? BUSY_PART : 1),
});

export const isGivenUp = ({ counted }: Stuck, giveUpAfter: number): boolean => counted >= giveUpAfter;

export const isStuck = (stuck: Stuck | undefined): stuck is Stuck =>
  stuck !== undefined && stuck.answers >= SHOWN_FROM;

/** How much longer it takes at least until it is given up, ms; `status`: of the answers to come. */
export const giveUpIn = ({ counted }: Stuck, status: number, giveUpAfter: number): number =>
  Math.max(0, giveUpAfter - counted) / (isBusy(status) ? BUSY_PART : 1);

/** The longest pause of an entry that is refused alone, ms. */
export const longestPause = (giveUpAfter: number): number => giveUpAfter * LONGEST_PAUSE;

/** What its pauses grow to, ms. `max`: the policy's `retry.max`, ms. */
export const pauseLimit = (stuck: Stuck | undefined, max: number, giveUpAfter: number): number => {
  const doublings = Math.min((stuck?.answers ?? 0) - PATIENT_UNTIL, 30);
  return doublings <= 0 ? max : Math.max(max, Math.min(longestPause(giveUpAfter), max * 2 ** doublings));
};
