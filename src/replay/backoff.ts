// Pauses between tries: full jitter, so that many vehicles that regain signal together do not come back together.

/** The first pause is at most so long, ms. */
const BASE_MS = 250;

/** A random pause in ms below min(max, base × 2^tries). `tries`: failed ones so far, from 1. `random`: 0 ≤ x < 1. */
export function pauseMs(tries: number, maxMs: number, random: () => number = Math.random): number {
  const ceiling = Math.min(maxMs, BASE_MS * 2 ** Math.min(tries - 1, 20));
  return Math.ceil(random() * ceiling);
}
