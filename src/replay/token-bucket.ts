// A rate in bytes per second, kept over a tenth of a second. Pure: the time comes in.

const BURST_S = 0.1;
/** Pieces are no longer than what may leave in about so long, s, so that small rates are kept evenly too. */
const PIECE_S = 0.05;
/** Of a bucket that several destinations share: each try gets a piece in its turn, so those of one that may send little must not be much
 *  shorter than those of the others, or it would get less than it may. */
const SHARED_PIECE_S = 0.01;
const SMALLEST_PIECE = 4 * 1024;

export class TokenBucket {
  readonly rate: number;
  /** bytes */
  readonly piece: number;
  #tokens: number;
  #at: number;

  /** `rate`: bytes per second; `now`: ms; `shared`: by several destinations. */
  constructor(rate: number, now: number, { shared = false } = {}) {
    this.rate = rate;
    this.piece = Math.max(SMALLEST_PIECE, Math.floor(rate * (shared ? SHARED_PIECE_S : PIECE_S)));
    this.#tokens = rate * BURST_S;
    this.#at = now;
  }

  /** Takes `bytes`; they may leave in so many ms. */
  take(bytes: number, now: number): number {
    const refill = (Math.max(0, now - this.#at) / 1000) * this.rate;
    this.#tokens = Math.min(this.rate * BURST_S, this.#tokens + refill) - bytes;
    this.#at = now;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.rate) * 1000;
  }
}
