// What an answer means for the entry. The table of the design, and nothing else.

export type Outcome =
  /** The destination has it. */
  | 'delivered'
  /** Try again, with growing pauses. */
  | 'retry'
  /** Credentials get fixed: try again, but rarely, and say so loudly. */
  | 'unauthorized'
  /** Refused for good: kept for an operator. */
  | 'dead';

const AGAIN = new Set([408, 425, 429]);

export function outcomeOf(status: number): Outcome {
  if (status >= 200 && status < 300) return 'delivered';
  if (status >= 500 || AGAIN.has(status)) return 'retry';
  if (status === 401 || status === 403) return 'unauthorized';
  return 'dead';
}

/** Retry-After as ms from `now` (ms since the epoch): seconds or an HTTP date (RFC 9110 section 10.2.3). */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
