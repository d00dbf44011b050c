// The next step after a 401 or 403. Where the mesh holds the credentials (it signs, or the policy sets the header), an operator or a
// rotation can mend them: the entry waits, longer each time. Where the app has put them into the request (a token, a presigned URL),
// nobody can mend what is stored: a few tries over some minutes, then a dead letter for an operator. Pure.

import type { Destination } from '../policy/policy.ts';

/** The first pause, and what it doubles up to, ms. */
const SHORTEST_MS = 30_000;
const LONGEST_MS = 3_600_000;
/** A pause differs from its nominal length by up to this part, so that vehicles do not come back together. */
const JITTER = 0.2;
/** Refusals, and time since the first of them (ms, powered on), after which what nobody can mend is a dead letter. With the pauses above
 *  the fourth comes after three and a half minutes; a link that flaps wakes entries earlier. */
const LAST_REFUSAL = 4;
const LAST_AFTER_MS = 120_000;

export interface Unauthorized {
  /** The mesh authorizes the request: see `meshAuthorizes`. */
  signed: boolean;
  /** In a row, this one included. */
  refusals: number;
  /** Since the first of them, ms. */
  age: number;
  /** The longest pause, ms; default: an hour. */
  longest?: number;
}

export type NextStep = { dead: string } | { pauseMs: number };

/** `random`: 0 ≤ x < 1. */
export function afterUnauthorized(
  { signed, refusals, age, longest = LONGEST_MS }: Unauthorized,
  random: () => number = Math.random,
): NextStep {
  if (!signed && refusals >= LAST_REFUSAL && age >= LAST_AFTER_MS)
    return {
      dead: `refused ${refusals} times, and Layby does not sign for this destination: correct the credentials in the headers or the URL with \`layby queue edit\`, then \`layby queue retry\``,
    };
  return { pauseMs: growingPause(refusals, SHORTEST_MS, Math.min(longest, LONGEST_MS), random) };
}

/** From `shortest` doubling to `longest` (ms) with the number of refusals, from 1; with jitter. */
export const growingPause = (
  refusals: number,
  shortest: number,
  longest: number,
  random: () => number,
): number => {
  const nominal = Math.min(longest, shortest * 2 ** Math.min(Math.max(0, refusals - 1), 20));
  return Math.ceil(nominal * (1 - JITTER + 2 * JITTER * random()));
};

const CREDENTIAL_HEADER = /^(authorization|cookie)$|key|token|secret|auth/i;

/** The credentials of its requests are the mesh's: it signs them, or its policy sets a header with credentials. */
export const meshAuthorizes = ({ upstream, headers }: Pick<Destination, 'upstream' | 'headers'>): boolean =>
  upstream.sign !== undefined || (headers?.request.set ?? []).some(([name]) => CREDENTIAL_HEADER.test(name));
