// The next step after an answer that the destination has probably not given (deliver/portal.ts). The destination pauses as without a link,
// and the entry has a pause of its own, so that the next try is another entry's: if that one is delivered, the answer was the
// destination's after all, and meant for this entry. Pure.

import { growingPause, type NextStep } from './unauthorized.ts';

/** The entry's own pause, ms. Short at most, so that what waits goes on soon after a login at the portal. */
const SHORTEST_MS = 30_000;
const LONGEST_MS = 300_000;
/** With another entry delivered meanwhile: a dead letter after so many answers, over so long, ms powered on. */
const REFUTED_ANSWERS = 3;
const REFUTED_AFTER_MS = 60_000;
/** Without: a portal can stand in the way for a night in a garage, and would turn the whole backlog into dead letters. */
const LAST_ANSWER = 10;
const LAST_AFTER_MS = 24 * 3_600_000;

export interface Suspicious {
  /** In a row to this entry, this one included. */
  answers: number;
  /** Since the first of them, ms the queue has been running. */
  age: number;
  /** Another entry of the destination was delivered since the first of them. */
  othersDelivered: boolean;
}

/** `random`: 0 ≤ x < 1. */
export function afterSuspicious(
  { answers, age, othersDelivered }: Suspicious,
  random: () => number = Math.random,
): NextStep {
  if (othersDelivered && answers >= REFUTED_ANSWERS && age >= REFUTED_AFTER_MS)
    return { dead: `answered so ${answers} times, while other requests were delivered` };
  if (answers >= LAST_ANSWER && age >= LAST_AFTER_MS)
    return { dead: `answered so ${answers} times within ${Math.floor(age / 3_600_000)} hours` };
  return { pauseMs: growingPause(answers, SHORTEST_MS, LONGEST_MS, random) };
}
