// The effect of an answer's status on the entry: the default table for every kind of destination (RFC 9110 section 15; for people in
// docs/architecture.md). 407 and 511 are judged before it, as answers of a captive portal (deliver/portal.ts). Pure.

import { headerOf } from '../wire/headers.ts';

export type Outcome =
  /** The destination has it. */
  | 'delivered'
  /** Try again, with growing pauses. How long that goes on for an entry that alone is refused: give-up.ts. */
  | 'retry'
  /** Credentials get fixed: try again, but rarely, and log an error (unauthorized.ts). */
  | 'unauthorized'
  /** Refused for good: kept for an operator. */
  | 'dead';

/** 421: another connection may lead to the right server. 423: a lock ends. */
const AGAIN: ReadonlySet<number> = new Set([408, 421, 423, 425, 429]);
/** 501 Not Implemented, 505 HTTP Version Not Supported and 510 Not Extended: the server will never do what this request asks for. */
const NEVER: ReadonlySet<number> = new Set([501, 505, 510]);

export function outcomeOf(status: number): Outcome {
  if (status >= 200 && status < 300) return 'delivered';
  if ((status >= 500 && !NEVER.has(status)) || AGAIN.has(status)) return 'retry';
  if (status === 401 || status === 403) return 'unauthorized';
  return 'dead';
}

/** Statuses below 502 by which a server says that it cannot take requests now. */
const BUSY: ReadonlySet<number> = new Set([408, 425, 429]);

/** The answer speaks of the state of the server, or of a gateway before it, rather than of this request. */
export const isBusy = (status: number): boolean => BUSY.has(status) || status >= 502;

/** The longest pause that a destination can ask for, ms. A larger one would let a single answer (of a portal, or of a server with a
 *  wrong clock) stop a destination for days, and past 2^31 ms a timer of Node.js fires at once. */
const LONGEST_RETRY_AFTER_MS = 24 * 3_600_000;

/** IMF-fixdate and the two obsolete forms of RFC 9110 section 5.6.7. `Date.parse` alone also takes "soon 1" for a date. */
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})$/;

const dateIn = (value: string | undefined): number | undefined => {
  const text = value?.trim() ?? '';
  if (!HTTP_DATE.test(text)) return undefined;
  // asctime has no zone and is in GMT.
  const date = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
  return Number.isNaN(date) ? undefined : date;
};

/** Retry-After (RFC 9110 section 10.2.3), ms, at most one day; undefined: there is none, or it is neither seconds nor a date. A date is
 *  compared with the answer's own Date, since the clock of a vehicle may be wrong; `now` (ms since the epoch) is for answers without one. */
export function retryAfterMs(headers: readonly string[], now: number = Date.now()): number | undefined {
  const value = headerOf(headers, 'retry-after')?.trim();
  if (value === undefined) return undefined;
  const date = dateIn(value);
  const ms = /^\d+$/.test(value)
    ? Number(value) * 1000
    : date === undefined
      ? undefined
      : date - (dateIn(headerOf(headers, 'date')) ?? now);
  return ms === undefined ? undefined : Math.min(LONGEST_RETRY_AFTER_MS, Math.max(0, ms));
}
