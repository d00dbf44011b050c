// A body that is still being stored, for an upload that sends it meanwhile. Its bytes are on the disk (a spool, or a writer of the store), so
// the upload may fall behind by any length; where the client is not to be read faster than its body leaves, it waits here.

import type { Body } from '../replay/deliver/body.ts';

/** How far a client may be ahead of the upload, bytes, beyond what the upload asks for: the next part fills while one is sent. */
const LEAD = 8 * 1024 * 1024;

/** Where the bytes are. */
export interface StoredBytes {
  /** Bytes that can be read now. */
  readonly bytes: number;
  read(range: { start?: number; end?: number }): AsyncIterable<Buffer>;
}

export class StreamingBody implements Body {
  readonly md5 = undefined;
  trailers: readonly string[] = [];
  whole = false;
  #stored: StoredBytes;
  readonly #expected: number | undefined;
  readonly #waiting = new Set<() => void>();
  #wanted = 0;
  #consumed = 0;
  #writable: (() => void) | undefined;

  /** `expected`: bytes in all, where the client said it. */
  constructor(stored: StoredBytes, expected: number | undefined) {
    this.#stored = stored;
    this.#expected = expected;
  }

  get bytes(): number {
    return this.#stored.bytes;
  }

  get length(): number | undefined {
    return this.whole ? this.bytes : this.#expected;
  }

  reaches(bytes: number, signal: AbortSignal): Promise<void> {
    this.#wanted = Math.max(this.#wanted, bytes);
    this.#release();
    return new Promise((resolve, reject) => {
      const settle = (how: () => void): void => {
        this.#waiting.delete(look);
        signal.removeEventListener('abort', look);
        how();
      };
      const look = (): void => {
        if (signal.aborted) settle(() => reject(new Error('the body was given up')));
        else if (this.whole || this.bytes >= bytes) settle(resolve);
      };
      this.#waiting.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }

  read(range: { start?: number; end?: number } = {}): AsyncIterable<Buffer> {
    return this.#stored.read(range);
  }

  begun(): void {}

  /** More is stored. */
  grew(): void {
    for (const look of this.#waiting) look();
  }

  /** All of it is stored; `stored`: where, from now on. */
  end(trailers: readonly string[], stored = this.#stored): void {
    this.#stored = stored;
    this.trailers = trailers;
    this.whole = true;
    this.grew();
  }

  /** The upload has taken `bytes` more. */
  consumed(bytes: number): void {
    this.#consumed += bytes;
    this.#release();
  }

  /** Resolves when the client may bring more; undefined: at once. */
  room(): Promise<void> | undefined {
    if (this.#mayGrow()) return undefined;
    return new Promise((resolve) => {
      this.#writable = resolve;
    });
  }

  #mayGrow(): boolean {
    return this.bytes < this.#wanted || this.bytes - this.#consumed < LEAD;
  }

  #release(): void {
    if (!this.#writable || !this.#mayGrow()) return;
    this.#writable();
    this.#writable = undefined;
  }

  /** The upload has ended: the client need not wait for it. */
  abandon(): void {
    this.#consumed = Number.POSITIVE_INFINITY;
    this.#release();
  }
}
