// A sum over all slots of the index, kept while they come and go, and written with each flush. LevelDB drops a damaged batch of its
// log, or a table that its MANIFEST has lost, without a word; then the sum of what is found is another one than was written.

import type { Slot } from './slot.ts';

export type Sum = [slots: number, sum: number];

const STATES: readonly Slot['state'][] = ['stored', 'dead', 'quarantined', 'staged'];

/** 32 bits of what must not change unnoticed. */
const hash = ({ seq, state, attempts, at }: Slot): number => {
  let mixed = Math.imul(seq ^ Math.floor(seq / 2 ** 32), 0x9e3779b1);
  for (const part of [STATES.indexOf(state), attempts, at.generation, at.counter]) {
    mixed = Math.imul(mixed ^ (mixed >>> 15) ^ part, 0x85ebca6b);
    mixed ^= mixed >>> 13;
  }
  return mixed >>> 0;
};

export class Tally {
  #slots = 0;
  #sum = 0;

  add(slot: Slot): void {
    this.#slots++;
    this.#sum = (this.#sum + hash(slot)) >>> 0;
  }

  remove(slot: Slot): void {
    this.#slots--;
    this.#sum = (this.#sum - hash(slot)) >>> 0;
  }

  get sum(): Sum {
    return [this.#slots, this.#sum];
  }

  is([slots, sum]: Sum): boolean {
    return slots === this.#slots && sum === this.#sum;
  }
}
