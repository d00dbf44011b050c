// The store's own time, ms since the store was made: what a time to live is counted by. It counts only what is known to have
// passed while the machine was on:
//
//   the same boot      what CLOCK_MONOTONIC says has passed since the last reading
//   another boot       what has passed since this boot; nothing for the time in between, which nobody measured
//
// So it never goes back, and nobody can set it. A reading goes to the disk with each flush of the index and stands in each
// entry record, so a power cut costs at most the time since the last of them.

import type { BootClock } from './boot-clock.ts';

/** A moment of the store's time, and where the machine's clock stood. */
export interface Reading {
  bootId: string;
  uptime: number;
  /** The store's time, ms. Absent in records of format 1. */
  clock?: number;
}

export class StoreClock {
  readonly boot: BootClock;
  /** The store's time when this boot began. */
  #offset: number;

  constructor(boot: BootClock) {
    this.boot = boot;
    this.#offset = -boot.uptime();
  }

  now(): number {
    return this.boot.uptime() + this.#offset;
  }

  reading(): Required<Reading> {
    const uptime = this.boot.uptime();
    return { bootId: this.boot.bootId, uptime, clock: uptime + this.#offset };
  }

  /** A reading that was found on the disk: the clock stands at it or later. */
  found({ bootId, uptime, clock = 0 }: Reading): void {
    const now = this.boot.uptime();
    const comparable = bootId !== '' && this.boot.bootId !== '';
    const since = bootId !== this.boot.bootId ? now : Math.max(0, now - uptime);
    this.#offset = Math.max(this.#offset, clock + (comparable ? since : 0) - now);
  }
}
