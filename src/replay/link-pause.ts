// How long a destination pauses because it was not reached. Of all that was in flight and was lost together the first counts: it is
// one loss. Pure but for the jitter.

import { pauseMs } from './backoff.ts';

/** An attempt that moved so many bytes (more than buffers on the way can hide) made progress: pauses start small again. */
const PROGRESS_BYTES = 1024 * 1024;

export const madeProgress = (moved: number | undefined): boolean => (moved ?? 0) >= PROGRESS_BYTES;

export class LinkPause {
  /** Losses in a row. */
  failures = 0;
  /** ms of performance.now(). */
  notBefore = 0;
  /** What it is for. */
  reason = '';

  /** An attempt was lost at `now` (ms); `max`: the longest pause, ms. Returns the pause, ms. */
  lost(now: number, { moved, words }: { moved: number; words: string }, max: number): number {
    const progressed = madeProgress(moved);
    if (progressed || now >= this.notBefore) {
      this.failures = progressed ? 1 : this.failures + 1;
      this.notBefore = now + pauseMs(this.failures, max);
      this.reason = words;
    }
    return Math.round(this.notBefore - now);
  }

  /** The destination asks for a pause itself (Retry-After), until `until` (ms). */
  asked(until: number, reason: string): void {
    if (until <= this.notBefore) return;
    this.notBefore = until;
    this.reason = reason;
  }

  reached(): void {
    this.failures = 0;
  }

  /** The pause is over. */
  end(): void {
    this.failures = 0;
    this.notBefore = 0;
  }
}
