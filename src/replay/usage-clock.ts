// The day (UTC) that link budgets count in. The wall clock alone does not decide: vehicles boot with clocks that were never set, and clocks
// are corrected while the program runs. Pure: readings go in, the day comes out.
//
//   trusted    the wall clock says the day
//     a reading before 2026                                      → untrusted
//     a step (further from CLOCK_BOOTTIME than STEP_MS)          → trusted, and the step is reported: usage moves to the new day
//   untrusted  the day stays the last trusted one
//     a step, to 2026 or later: somebody has set the clock       → trusted
//     a reading that is no earlier than the last trusted one     → trusted
//     a day later than when it was first found behind            → trusted: it goes, so the later one was wrong
//
// After another boot a clock that is behind the last trusted reading is untrusted: its battery may be empty.

import type { BootClock } from '../store/leveldb/boot-clock.ts';

/** Earlier readings: the clock has not been set yet. */
const CLOCK_SET = Date.UTC(2026, 0, 1);
/** A change of the wall clock by less is an adjustment, ms. */
const STEP_MS = 10 * 60_000;
const DAY_MS = 86_400_000;

export interface ClockReading {
  /** ms since the epoch. */
  wall: number;
  /** CLOCK_BOOTTIME, ms: goes on while the machine is suspended. */
  uptime: number;
  /** The kernel's boot id; '' where there is none. */
  boot: string;
}

/** What outlives a restart. */
export interface UsageClockState {
  /** The last trusted reading of the wall clock, ms since the epoch. */
  trustedAt?: number;
  /** The wall clock when it was first found behind `trustedAt`, ms since the epoch. */
  behindSince?: number;
  /** The last reading. */
  last?: ClockReading;
}

export interface ClockLook {
  /** YYYY-MM-DD, UTC; undefined: the clock has never been trusted. */
  day: string | undefined;
  trusted: boolean;
  /** The wall clock was set from one trusted time to another. */
  stepped: boolean;
}

const dayOf = (wall: number): string => new Date(wall).toISOString().slice(0, 10);

export class UsageClock {
  readonly #clock: BootClock;
  #state: UsageClockState;
  #trusted: boolean;

  /** `clock`: its `uptime` must go on while the machine is suspended. */
  constructor(state: UsageClockState, clock: BootClock) {
    this.#state = state;
    this.#clock = clock;
    this.#trusted = state.trustedAt !== undefined && state.behindSince === undefined;
  }

  /** As the last look found it. */
  get trusted(): boolean {
    return this.#trusted;
  }

  get state(): UsageClockState {
    return this.#state;
  }

  look(): ClockLook {
    const now = { wall: this.#clock.wall(), uptime: this.#clock.uptime(), boot: this.#clock.bootId };
    const { last, trustedAt, behindSince } = this.#state;
    const sameBoot = last !== undefined && last.boot !== '' && last.boot === now.boot;
    const expected = sameBoot ? last.wall + now.uptime - last.uptime : now.wall;
    const stepped = Math.abs(now.wall - expected) > STEP_MS;
    const isSet = now.wall >= CLOCK_SET;
    const ahead = trustedAt === undefined || now.wall >= trustedAt - STEP_MS;
    const goes = behindSince !== undefined && now.wall >= behindSince + DAY_MS;
    const was = this.#trusted;
    this.#trusted = isSet && (ahead || stepped || goes);
    if (this.#trusted) this.#state = { trustedAt: now.wall, last: now };
    else {
      const since = isSet ? { behindSince: Math.min(behindSince ?? now.wall, now.wall) } : {};
      this.#state = { ...(trustedAt !== undefined && { trustedAt }), ...since, last: now };
    }
    const day = this.#state.trustedAt === undefined ? undefined : dayOf(this.#state.trustedAt);
    return { day, trusted: this.#trusted, stepped: was && this.#trusted && stepped };
  }
}
