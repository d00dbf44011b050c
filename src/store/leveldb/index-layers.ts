// What the index knows and the disk does not yet: slots, ids and running times to live, as they were changed since the last flush.

import { expiryKey } from './keys.ts';
import { awaited, ResourceSeqs } from './resources.ts';
import type { Slot } from './slot.ts';

export class Layer {
  readonly lanes = new Map<string, Map<number, Slot | undefined>>();
  readonly ids = new Map<string, { destination: string; seq: number } | undefined>();
  /** Of entries whose time to live runs: the id; undefined for one whose time runs no more. */
  readonly expiries = new Map<string, string | undefined>();
  /** What began or ceased to wait for a resource. */
  readonly resources = new ResourceSeqs();

  set(destination: string, seq: number, id: string, slot: Slot | undefined): void {
    const lane = this.lanes.get(destination) ?? new Map<number, Slot | undefined>();
    this.lanes.set(destination, lane);
    lane.set(seq, slot);
    this.ids.set(id, slot && { destination, seq });
  }

  /** Puts what is newer on top. */
  cover(newer: Layer): void {
    for (const [destination, lane] of newer.lanes) {
      const below = this.lanes.get(destination);
      if (!below) this.lanes.set(destination, lane);
      else for (const [seq, slot] of lane) below.set(seq, slot);
    }
    for (const [id, place] of newer.ids) this.ids.set(id, place);
    for (const [key, id] of newer.expiries) this.expiries.set(key, id);
    for (const [destination, sum, seq] of newer.resources.all()) this.resources.add(destination, sum, seq);
  }

  /** Whether one that was touched waits for the resource as far as this layer knows. */
  waits(destination: string, sum: number, seq: number): boolean {
    const slot = this.lanes.get(destination)?.get(seq);
    return slot !== undefined && awaited(slot) === sum;
  }
}

/** The key of its running time to live. */
export const runningKey = ({ state, seq, expiry }: Slot): string | undefined =>
  (state === 'stored' || state === 'staged') && expiry ? expiryKey(expiry.at, seq) : undefined;
