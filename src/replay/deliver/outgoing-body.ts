// A body, or a range of one, on its way out: paced, counted, and with the store's own errors kept apart from the way's. One that still
// grows is followed to its end.

import type { Try } from './deliver.ts';

export class OutgoingBody {
  /** Bytes that were taken so far. */
  moved = 0;
  /** What the store said, where it failed. */
  damage: unknown;
  readonly #attempt: Try;
  readonly #range: { start?: number; end?: number };
  readonly #begin: () => void;

  /** `begin`: called before each piece. */
  constructor(attempt: Try, range: { start?: number; end?: number }, begin: () => void) {
    this.#attempt = attempt;
    this.#range = range;
    this.#begin = begin;
  }

  async *pieces(): AsyncGenerator<Buffer> {
    const { pace, signal } = this.#attempt;
    for await (const piece of this.#stored()) {
      this.#begin();
      for (let at = 0; at < piece.length; ) {
        const slice = piece.subarray(at, at + pace.piece);
        const leave = pace.take(slice.length, signal);
        if (leave) await leave;
        yield slice;
        this.moved += slice.length;
        at += slice.length;
      }
    }
  }

  async *#stored(): AsyncGenerator<Buffer> {
    const { body, signal } = this.#attempt;
    const { start = 0, end = Number.POSITIVE_INFINITY } = this.#range;
    for (let at = start; at < end; ) {
      await body.reaches(at + 1, signal);
      const there = Math.min(end, body.bytes);
      if (there <= at) return;
      try {
        yield* body.read({ start: at, end: there });
      } catch (error) {
        this.damage = error;
        throw error;
      }
      at = there;
    }
  }
}

/** Says once that the try has begun to send. */
export const beginOnce = ({ body }: Try): (() => void) => {
  let begun = false;
  return () => {
    if (!begun) body.begun();
    begun = true;
  };
};
