// The policy's limit for an answer (answerTimeout): from the moment at which the last byte of a request has left the machine to the end of
// its answer. Envoy has a timeout of that kind too, but on a route, and routes to an upstream are one for all rules.

import type { Readable } from 'node:stream';
import { timerMs } from '../platform/timer.ts';

export class Deadline {
  readonly #late = new AbortController();
  readonly #ms: number;
  readonly signal: AbortSignal;
  #timer: NodeJS.Timeout | undefined;

  /** `signal`: what else may end the request. */
  constructor(ms: number, signal: AbortSignal) {
    this.#ms = ms;
    this.signal = AbortSignal.any([signal, this.#late.signal]);
  }

  /** Why it was ended, where this ended it. */
  get reason(): unknown {
    return this.#late.signal.reason;
  }

  /** The time begins now. */
  begin(): void {
    clearTimeout(this.#timer);
    const words = `no answer within ${this.#ms / 1000} s`;
    this.#timer = setTimeout(() => this.#late.abort(new Error(words)), timerMs(this.#ms));
  }

  /** Bytes of the request are still on their way: the time that has begun begins again. */
  extend(): void {
    if (this.#timer) this.begin();
  }

  /** The time begins when these were all taken. */
  async *after(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    yield* pieces;
    this.begin();
  }

  /** It ends with this answer. */
  until(answer: Readable): void {
    answer.once('close', () => this.over());
  }

  over(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
