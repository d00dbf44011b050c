// Lengths of timers that come from outside.

/** Node.js fires a timer at once whose length is larger, ms (24.8 days). */
const LONGEST_MS = 2 ** 31 - 1;

/** A length that a timer can have, ms: no number, or one that is below 0, is 0. */
export const timerMs = (ms: number): number => Math.min(Math.max(0, ms) || 0, LONGEST_MS);
