// Between the body of a client and the request that carries it on: a few chunks that wait, so that neither side stands still for the
// other. The only such buffer of the queue that is in memory; a body that may fall further behind is on the disk (streaming-body.ts).

/** Chunks of a socket's read, 64 KiB each: one is being sent, the next is there. */
const CAPACITY = 2;

export class BoundedChannel implements AsyncIterable<Buffer> {
  readonly #chunks: Buffer[] = [];
  #state: 'open' | 'ended' | 'closed' = 'open';
  /** Resolves a reader that waits for a chunk, and a writer that waits for room. */
  #readable: (() => void) | undefined;
  #writable: (() => void) | undefined;

  /** A promise resolves when the next chunk may come; undefined: at once. After `close` chunks are dropped. One writer at a time. */
  push(chunk: Buffer): Promise<void> | undefined {
    if (this.#state === 'closed') return undefined;
    this.#chunks.push(chunk);
    this.#readable?.();
    if (this.#chunks.length < CAPACITY) return undefined;
    return new Promise((resolve) => {
      this.#writable = resolve;
    });
  }

  /** The body is whole. */
  end(): void {
    if (this.#state === 'open') this.#state = 'ended';
    this.#readable?.();
  }

  /** Nobody reads any more: a writer need not wait, and a reader gets an error and not an end. */
  close(): void {
    this.#state = 'closed';
    this.#chunks.length = 0;
    this.#writable?.();
    this.#readable?.();
  }

  /** One reader; when it ends, the channel is closed. Rejects after `close`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk) {
          this.#writable?.();
          yield chunk;
        } else if (this.#state === 'ended') {
          return;
        } else if (this.#state === 'closed') {
          throw new Error('the request was given up');
        } else {
          await new Promise<void>((resolve) => {
            this.#readable = resolve;
          });
        }
      }
    } finally {
      this.close();
    }
  }
}
