// A rate in bytes per second, kept over a tenth of a second.

import { setTimeout as sleep } from 'node:timers/promises';

const BURST_S = 0.1;

export class TokenBucket {
  readonly rate: number;
  #tokens: number;
  #at = performance.now();

  /** `rate`: bytes per second. */
  constructor(rate: number) {
    this.rate = rate;
    this.#tokens = rate * BURST_S;
  }

  /** Resolves when `bytes` may go. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    this.#refill();
    this.#tokens -= bytes;
    if (this.#tokens >= 0) return;
    await sleep((-this.#tokens / this.rate) * 1000, undefined, signal ? { signal } : {});
  }

  #refill(): void {
    const now = performance.now();
    this.#tokens = Math.min(this.rate * BURST_S, this.#tokens + ((now - this.#at) / 1000) * this.rate);
    this.#at = now;
  }
}

/** The same pieces, no faster than the bucket allows. */
export async function* paced(
  pieces: AsyncIterable<Buffer>,
  bucket: TokenBucket,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += 16_384) {
      const slice = piece.subarray(at, at + 16_384);
      await bucket.take(slice.length, signal);
      yield slice;
    }
  }
}
