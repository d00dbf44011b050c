// A link that comes and goes: any cut, injected and cleared at moments that a seed decides.

import { setTimeout as sleep } from 'node:timers/promises';
import { between, randomFrom } from '../random.ts';
import type { Fault } from './fault.ts';

export interface FlapOptions {
  seed: number;
  /** Shortest and longest time with the link, ms. */
  up: readonly [number, number];
  /** Shortest and longest time without it, ms. */
  down: readonly [number, number];
  /** The clock; a test brings its own. */
  wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface Flap extends Fault {
  /** How often the link was cut since inject. */
  readonly cuts: number;
}

const byTheClock = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });

/** `inject` cuts at once and then flaps until `clear`, which leaves the link whole. */
export const flap = (cut: Fault, options: FlapOptions): Flap => {
  const wait = options.wait ?? byTheClock;
  let stop: AbortController | undefined;
  let flapping: Promise<void> = Promise.resolve();
  let cuts = 0;
  let failure: unknown;

  const go = async (random: () => number, signal: AbortSignal) => {
    while (!signal.aborted) {
      await wait(between(random, options.down), signal);
      await cut.clear();
      await wait(between(random, options.up), signal);
      await cut.inject();
      cuts++;
    }
  };

  return {
    name: `flap ${cut.name} (seed ${options.seed})`,
    get cuts() {
      return cuts;
    },
    inject: async () => {
      if (stop) return;
      stop = new AbortController();
      const { signal } = stop;
      failure = undefined;
      await cut.inject();
      cuts = 1;
      flapping = go(randomFrom(options.seed), signal).catch((error: unknown) => {
        if (!signal.aborted) failure = error;
      });
    },
    clear: async () => {
      stop?.abort();
      stop = undefined;
      await flapping;
      await cut.clear();
      if (failure !== undefined) throw failure;
    },
  };
};
