// A body, or a range of one, on its way out of the store: paced, counted, and with the store's own errors kept apart from the way's.

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
    const { store, entry } = this.#attempt;
    try {
      yield* store.read(entry, this.#range);
    } catch (error) {
      this.damage = error;
      throw error;
    }
  }
}

/** Tells the store once that the try has begun to send. */
export const beginOnce = ({ store, entry }: Try): (() => void) => {
  let begun = false;
  return () => {
    if (!begun) store.sent(entry);
    begun = true;
  };
};
