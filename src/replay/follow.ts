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
import type { AttemptResult, OwnTry } from './sender.ts';

/** An upload that was begun elsewhere. */
export interface UnderWay {
  /** Never rejects. */
  result: Promise<AttemptResult>;
  abort: () => void;
  /** When the last piece of its body left, ms of performance.now(); without it nobody sees whether it moves. */
  movedAt?: () => number;
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
  send(own: OwnTry): Promise<AttemptResult>;
  /** It was not reached; all of the destination pauses. */
  lost(result: Result & { kind: 'no-link' }): void;
  /** It was reached. */
  reached(): void;
  /** The longest pause, ms. */
  pauseMax(): number;
  /** No try of it is under way any more. */
  idle(own: OwnTry): void;
  /** Nothing new will be tried. */
  over(): void;
}

type State = 'waiting' | 'asking' | 'sending' | 'answered' | 'over';

export class Follower {
  readonly growing: Growing;
  readonly #way: Way;
  #state: State = 'waiting';
  #own: OwnTry | undefined;
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
    const began = performance.now();
    const own: OwnTry = { end: new AbortController(), began, movedAt: began };
    this.#own = own;
    this.#result = this.#way
      .send(own)
      .catch((error): AttemptResult => ({ kind: 'no-link', words: messageOf(error), moved: 0 }));
    const result = await this.#result;
    if (this.#state === 'sending') this.#settle(own, result);
    this.#way.idle(own);
  }

  #settle(own: OwnTry, result: AttemptResult): void {
    this.#state = 'waiting';
    if (result.kind === 'interrupted') return;
    if (result.kind === 'no-link') {
      if (!own.end.signal.aborted) this.#way.lost(result);
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
    const own = this.#own;
    if (!goesOn || !own || !this.#result) return undefined;
    return { result: this.#result, abort: () => own.end.abort(), movedAt: () => own.movedAt };
  }

  /** Resolves when nothing of it is under way. */
  async abort(): Promise<void> {
    this.#state = 'over';
    this.#way.over();
    this.#own?.end.abort();
    await this.#result;
  }
}
