// A body that is still being stored, sent as it grows. It is no entry yet, so it has no place in the lane and takes up none of its tries;
// link, pauses, classes and rates are the lane's.
//
//   waiting  → the way is free for it, and nothing of its key is before it → sending
//   sending  → the way is lost, or the destination wants it later          → waiting
//            → the destination has answered for good                       → answered
//   sending, answered → the body is whole, and becomes an entry            → over: replay settles the entry by what comes of it
//   waiting           → the body is whole, and becomes an entry            → over: it takes its place in the lane
//   all               → the app goes away                                  → over, and nothing was sent as if whole

import type { EntryHead } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import { pauseMs } from './backoff.ts';
import type { Body } from './deliver/body.ts';
import type { Result } from './deliver/deliver.ts';
import type { Lease } from './delivery-ledger.ts';
import type { AttemptResult } from './sender.ts';

/** An upload that was begun elsewhere. */
export interface UnderWay {
  /** Where replay has granted one: it goes on with the upload. */
  lease?: Lease;
  /** Never rejects. */
  result: Promise<AttemptResult>;
  abort: () => void;
  /** Bytes of its body that have left so far; without it they are counted already. */
  sent?: () => number;
}

export interface Growing {
  head: EntryHead;
  body: Body;
  /** Nothing of its key waits, or is on its way. */
  isItsTurn: () => Promise<boolean>;
}

/** What a follower needs of the lane. */
export interface Way {
  /** Whether link and policy let it go now. */
  mayGo(): boolean;
  claim(): Lease;
  send(lease: Lease): Promise<AttemptResult>;
  /** It was not reached; all of the destination pauses. */
  lost(result: Result & { kind: 'no-link' }): void;
  /** It was reached. */
  reached(): void;
  /** The longest pause, ms. */
  pauseMax(): number;
  /** Nothing of the body is in flight any more, and none of it is for an entry. */
  release(lease: Lease): void;
  /** An attempt has ended. */
  ended(): void;
  /** Nothing new will be tried. */
  over(): void;
}

type State = 'waiting' | 'asking' | 'sending' | 'answered' | 'over';

export class Follower {
  readonly growing: Growing;
  readonly #way: Way;
  #state: State = 'waiting';
  /** Held while an attempt is in flight, and while its answer waits for the entry. */
  #lease: Lease | undefined;
  #result: Promise<AttemptResult> | undefined;
  #refusals = 0;
  #notBefore = 0;

  constructor(growing: Growing, way: Way) {
    this.growing = growing;
    this.#way = way;
  }

  /** When it may be tried, ms of performance.now(). */
  get dueAt(): number {
    return this.#state === 'waiting' ? this.#notBefore : Number.POSITIVE_INFINITY;
  }

  /** Its pause is over. */
  hurry(): void {
    this.#notBefore = 0;
  }

  /** Tries, where it is its turn. Resolves when that is over; never rejects. */
  async try(): Promise<void> {
    this.#state = 'asking';
    const free = await this.growing.isItsTurn().catch(() => false);
    if (this.#state !== 'asking') return;
    this.#state = 'waiting';
    if (!free || !this.#way.mayGo()) return;
    this.#state = 'sending';
    const lease = this.#way.claim();
    this.#lease = lease;
    this.#result = this.#way
      .send(lease)
      .catch((error): AttemptResult => ({ kind: 'no-link', words: messageOf(error), moved: 0 }));
    const result = await this.#result;
    if (this.#state === 'sending') this.#settle(lease, result);
    if ((this.#state as State) !== 'answered') this.#release(lease);
    this.#way.ended();
  }

  #release(lease: Lease): void {
    if (this.#lease !== lease) return; // it was handed over
    this.#lease = undefined;
    this.#way.release(lease);
  }

  #settle(lease: Lease, result: AttemptResult): void {
    this.#state = 'waiting';
    if (result.kind === 'interrupted') return;
    if (result.kind === 'no-link') {
      if (!lease.end.signal.aborted) this.#way.lost(result);
      return;
    }
    this.#way.reached();
    if (result.outcome === 'delivered' || result.outcome === 'dead') {
      this.#state = 'answered';
      return;
    }
    this.#refusals += 1;
    const pause = Math.max(result.retryAfter ?? 0, pauseMs(this.#refusals, this.#way.pauseMax()));
    this.#notBefore = performance.now() + pause;
  }

  /** Nothing new is begun. What is under way, or answered, is for the entry that the body becomes. */
  handOver(): UnderWay | undefined {
    const goesOn = this.#state === 'sending' || this.#state === 'answered';
    this.#state = 'over';
    this.#way.over();
    const lease = this.#lease;
    if (!goesOn || !lease || !this.#result) return undefined;
    this.#lease = undefined;
    return { lease, result: this.#result, abort: () => lease.end.abort() };
  }

  /** Resolves when nothing of it is under way. */
  async abort(): Promise<void> {
    this.#state = 'over';
    this.#way.over();
    const lease = this.#lease;
    lease?.end.abort();
    await this.#result;
    if (lease) this.#release(lease);
  }
}
