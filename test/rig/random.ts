// Random numbers that a seed repeats, for faults and loads: a run that failed is run again with its seed.

/** Numbers in [0, 1). */
export type Random = () => number;

/** Mulberry32. */
export const randomFrom = (seed: number): Random => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

/** A whole number from `low` to `high`, both included. */
export const between = (random: Random, [low, high]: readonly [number, number]): number =>
  low + Math.floor(random() * (high - low + 1));

export const oneOf = <T>(random: Random, list: readonly T[]): T =>
  list[between(random, [0, list.length - 1])]!;
