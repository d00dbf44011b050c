// Reads a body that is still being stored to its end, in one pass. While the reader keeps up, chunks pass from hand to hand; where it falls
// behind they are read back from the disk, so no more than one of them is kept in memory for it.

import type { StreamingBody } from './streaming-body.ts';

export class SpoolTail implements AsyncIterable<Buffer> {
  readonly #body: StreamingBody;
  readonly #signal: AbortSignal;
  /** The chunk that the reader was waiting for. */
  #next: Buffer | undefined;
  #waiting = false;
  #sent = 0;

  /** `signal`: ends the reader with an error; what it has read must then not be taken for the whole. */
  constructor(body: StreamingBody, signal: AbortSignal) {
    this.#body = body;
    this.#signal = signal;
  }

  /** Bytes that the reader has taken. */
  get sent(): number {
    return this.#sent;
  }

  /** A chunk that is stored now, the last of `body.bytes`. Nobody has to wait until it is read. */
  offer(chunk: Buffer): void {
    if (this.#waiting && this.#sent === this.#body.bytes - chunk.length) this.#next ??= chunk;
    this.#body.grew();
  }

  /** One reader. Rejects when the signal is aborted, and as the stored body does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      this.#signal.throwIfAborted();
      const chunk = this.#next;
      if (chunk) {
        this.#next = undefined;
        yield chunk;
        this.#sent += chunk.length;
      } else if (this.#sent < this.#body.bytes) {
        for await (const stored of this.#body.read({ start: this.#sent })) {
          yield stored;
          this.#sent += stored.length;
          if (this.#signal.aborted) break;
        }
      } else if (this.#body.whole) {
        return;
      } else {
        this.#waiting = true;
        await this.#body.reaches(this.#sent + 1, this.#signal);
        this.#waiting = false;
      }
    }
  }
}
