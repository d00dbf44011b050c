// Ignition off: what can still be sent until the deadline, and what is left then. Replay sends by class as always; here the pauses are
// ended, and it is waited, counted and told.

import { timerMs } from '../platform/timer.ts';
import type { Destination } from '../policy/policy.ts';
import type { Store } from '../store/store.ts';

export interface DrainLeft {
  destination: string;
  /** Its class in the policy; undefined where the policy does not name it any more. */
  class?: string;
  entries: number;
  /** Of their bodies. What is partly there already counts in full. */
  bytes: number;
}

export interface DrainReport {
  /** How long it took, ms. */
  took: number;
  /** Body bytes that left meanwhile, and entries that were delivered. */
  sent: { entries: number; bytes: number };
  /** The highest class first; empty where all was sent. */
  left: DrainLeft[];
  /** bytes per second. */
  rate: number;
  /** How long the rest would take at that rate, ms; null where nothing moved. */
  needs: number | null;
}

export interface DrainOptions {
  store: Store;
  destinations: () => readonly Destination[];
  /** Ends the pauses of every lane. */
  wake: () => void;
  /** Body bytes that have left since the start. */
  moved: () => number;
}

/** What still waits, the highest class first. */
export function leftOf(
  store: Store,
  destinations: readonly Destination[],
  order: readonly string[],
): DrainLeft[] {
  const classes = new Map(destinations.map(({ name, store: { class: cls } }) => [name, cls as string]));
  const rank = ({ class: cls }: DrainLeft): number => (cls === undefined ? -1 : order.indexOf(cls));
  return [...store.totals()]
    .filter(([, { entries }]) => entries > 0)
    .map(([destination, { entries, bytes }]) => {
      const cls = classes.get(destination);
      return { destination, ...(cls !== undefined && { class: cls }), entries, bytes };
    })
    .sort((a, b) => rank(b) - rank(a) || (a.destination < b.destination ? -1 : 1));
}

/** Resolves when nothing waits any more, or after `ms`. */
export async function drain(
  { store, destinations, wake, moved }: DrainOptions,
  order: readonly string[],
  ms: number,
): Promise<DrainReport> {
  const began = performance.now();
  const before = moved();
  let entries = 0;
  const waiting = (): DrainLeft[] => leftOf(store, destinations(), order);
  const { promise, resolve } = Promise.withResolvers<void>();
  const late = setTimeout(resolve, timerMs(ms));
  const hear = ({ kind }: { kind: string }): void => {
    if (kind === 'delivered') entries += 1;
    if (kind !== 'stored' && kind !== 'sent' && waiting().length === 0) resolve();
  };
  store.on('event', hear);
  wake();
  if (waiting().length === 0) resolve();
  await promise;
  clearTimeout(late);
  store.off('event', hear);
  const took = performance.now() - began;
  const bytes = moved() - before;
  const left = waiting();
  const rate = took > 0 ? (bytes / took) * 1000 : 0;
  const rest = left.reduce((sum, { bytes: more }) => sum + more, 0);
  const needs = left.length === 0 ? 0 : rate > 0 ? Math.round((rest / rate) * 1000) : null;
  return { took: Math.round(took), sent: { entries, bytes }, left, rate: Math.round(rate), needs };
}
