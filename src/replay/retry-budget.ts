// How often a destination that answers, but refuses, is asked: less and less, and at once again when it takes something. Pure.
//
// Two windows, each a number of requests in flight:
//   all      of all requests. Halved by each round of refusals in which nothing was taken, down to four; whole again when something is taken.
//   retries  of requests for entries that were refused before. Halved by each round of refusals, doubled by each round that is taken. Below
//            one, a single entry is tried after a pause that grows: up to a second while the destination takes others, up to the
//            policy's `retry.max` while it takes nothing.
// So an entry that was never asked for does not wait behind refused ones, and a path that is refused for ever costs one request per pause,
// whatever waits behind it. A round is what was begun before the last refusal that counted.

import { pauseMs } from './backoff.ts';

/** Retries in flight, at the start and at most. */
const RETRIES = { first: 8, most: 64 };
/** The window of all is not halved further. */
const LEAST = 4;
/** Rounds of refusals after which a success means that the destination has recovered. */
const RECOVERED_AFTER = 3;
const HALVINGS = 6;
/** Refusals in a row after which also entries that were never asked for are tried one after a pause, of so long at most, ms. */
const FRESH = { refusals: 512, pauseMs: 1_000 };
/** A destination that took something within so long works, ms; refused entries are then tried one by one with a shorter pause, ms. */
const WORKS = { within: 30_000, pauseMs: 1_000 };

export interface Asking {
  /** It was refused before. */
  isRetry: boolean;
  /** ms */
  began: number;
}

export class RetryBudget {
  /** Refusals since something was taken, and the rounds of them. */
  #refusals = 0;
  #halvings = 0;
  #round = Number.NEGATIVE_INFINITY;
  #freshAt = 0;
  #window = RETRIES.first;
  #retryRound = Number.NEGATIVE_INFINITY;
  #probes = 0;
  #retryAt = 0;
  #retries = 0;
  #takenAt = Number.NEGATIVE_INFINITY;
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** How many requests may be in flight, of `whole` that could be. */
  concurrency(whole: number): number {
    return Math.max(Math.min(whole, LEAST), whole >> this.#halvings);
  }

  /** Nothing was taken lately, and something refused. */
  get isRefusing(): boolean {
    return this.#halvings > 0;
  }

  /** One refused entry at a time finds out whether it is taken now, and none is in flight. */
  get isProbing(): boolean {
    return this.#window < 1 && this.#retries === 0;
  }

  /** `now`: ms. */
  mayTry(isRetry: boolean, now: number): boolean {
    if (!isRetry) return now >= this.#freshAt;
    return this.#window >= 1
      ? this.#retries < Math.floor(this.#window)
      : this.#retries === 0 && now >= this.#retryAt;
  }

  /** When `mayTry` may change its mind by time alone, ms; 0: it is not time that is waited for. */
  at(isRetry: boolean): number {
    return isRetry ? (this.#window >= 1 ? 0 : this.#retryAt) : this.#freshAt;
  }

  began({ isRetry }: Asking): void {
    if (isRetry) this.#retries += 1;
  }

  ended({ isRetry }: Asking): void {
    if (isRetry) this.#retries -= 1;
  }

  /** The destination took it, or refused it for good: it works. Returns whether it had been refusing everything. `now`: ms. */
  taken({ isRetry }: Asking, now: number): boolean {
    this.#takenAt = now;
    const recovered = this.#halvings >= RECOVERED_AFTER;
    this.#refusals = 0;
    this.#halvings = 0;
    this.#freshAt = 0;
    if (isRetry) {
      this.#window = Math.min(RETRIES.most, Math.max(1, this.#window + 1));
      this.#probes = 0;
      this.#retryAt = 0;
    }
    return recovered;
  }

  /** It wants it later. `max`: the longest pause, ms. */
  refused({ isRetry, began }: Asking, now: number, max: number): void {
    this.#refusals += 1;
    if (began >= this.#round) {
      this.#round = now;
      this.#halvings = Math.min(HALVINGS, this.#halvings + 1);
    }
    if (this.#refusals >= FRESH.refusals) {
      const rounds = this.#refusals - FRESH.refusals + 1;
      this.#freshAt = now + pauseMs(rounds, Math.min(max, FRESH.pauseMs), this.#random);
    }
    if (!isRetry || began < this.#retryRound) return;
    this.#retryRound = now;
    this.#window /= 2;
    if (this.#window >= 1) return;
    this.#window = 0.5;
    this.#probes += 1;
    const works = now - this.#takenAt < WORKS.within;
    this.#retryAt = now + pauseMs(this.#probes, works ? Math.min(max, WORKS.pauseMs) : max, this.#random);
  }

  /** The link is back, or an operator wants it sent: the pauses are over, once. */
  hurry(): void {
    this.#freshAt = 0;
    this.#retryAt = 0;
  }
}
