// A body on its way in, for a try that sends it on meanwhile: the try follows it to its end, and where an app is not to be read faster than
// the way out takes its body, it waits here. Where the bytes are kept is for the spool or the store.

import type { Body } from '../replay/deliver/body.ts';

/** An app may be so far ahead of the way out, bytes, beyond what a try asks for: the next part fills while one is sent. */
const AHEAD = 8 * 1024 * 1024;

/** What there is of it. */
export interface Kept {
  readonly bytes: number;
  read(range: { start?: number; end?: number }): AsyncIterable<Buffer>;
}

export class GrowingBody implements Body {
  readonly md5 = undefined;
  trailers: readonly string[] = [];
  whole = false;
  #kept: Kept;
  #expected: number | undefined;
  readonly #waiting = new Set<() => void>();
  #wanted = 0;
  #taken = 0;
  #roomy: (() => void) | undefined;

  /** `expected`: bytes in all, where the app said it. */
  constructor(kept: Kept, expected: number | undefined) {
    this.#kept = kept;
    this.#expected = expected;
  }

  get bytes(): number {
    return this.#kept.bytes;
  }

  get length(): number | undefined {
    return this.whole ? this.bytes : this.#expected;
  }

  reaches(bytes: number, signal: AbortSignal): Promise<void> {
    this.#wanted = Math.max(this.#wanted, bytes);
    this.#letOn();
    return new Promise((resolve, reject) => {
      const over = (settle: () => void): void => {
        this.#waiting.delete(look);
        signal.removeEventListener('abort', look);
        settle();
      };
      const look = (): void => {
        if (signal.aborted) over(() => reject(new Error('the body was given up')));
        else if (this.whole || this.bytes >= bytes) over(resolve);
      };
      this.#waiting.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }

  read(range: { start?: number; end?: number } = {}): AsyncIterable<Buffer> {
    return this.#kept.read(range);
  }

  begun(): void {}

  /** More is kept. */
  grew(): void {
    for (const look of this.#waiting) look();
  }

  /** All of it is kept; `kept`: where, from now on. */
  end(trailers: readonly string[], kept = this.#kept): void {
    this.#kept = kept;
    this.trailers = trailers;
    this.whole = true;
    this.grew();
  }

  /** The way out has taken so many more, bytes. */
  took(bytes: number): void {
    this.#taken += bytes;
    this.#letOn();
  }

  /** Resolves when the app may bring more; undefined: at once. */
  room(): Promise<void> | undefined {
    if (this.#mayGrow()) return undefined;
    return new Promise((resolve) => {
      this.#roomy = resolve;
    });
  }

  #mayGrow(): boolean {
    return this.bytes < this.#wanted || this.bytes - this.#taken < AHEAD;
  }

  #letOn(): void {
    if (!this.#roomy || !this.#mayGrow()) return;
    this.#roomy();
    this.#roomy = undefined;
  }

  /** Nobody takes anything any more: the app need not wait. */
  abandon(): void {
    this.#taken = Number.POSITIVE_INFINITY;
    this.#letOn();
  }
}
