// Between the app's body and the request that carries it on: a few pieces that wait, so that neither side stands still for the other.

/** Pieces of a socket's read, 64 KiB each: one is being sent, the next is there. */
const WAITING = 2;

export class Relay {
  readonly #pieces: Buffer[] = [];
  #ended = false;
  #closed = false;
  #wake: (() => void) | undefined;
  #roomy: (() => void) | undefined;

  /** Resolves when the next piece may come; undefined: at once. After `close` pieces are dropped. */
  push(piece: Buffer): Promise<void> | undefined {
    if (this.#closed) return undefined;
    this.#pieces.push(piece);
    this.#wake?.();
    if (this.#pieces.length < WAITING) return undefined;
    return new Promise((resolve) => {
      this.#roomy = resolve;
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The way out is gone. */
  close(): void {
    this.#closed = true;
    this.#pieces.length = 0;
    this.#roomy?.();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece) {
        this.#roomy?.();
        yield piece;
      } else if (this.#ended) {
        return;
      } else if (this.#closed) {
        throw new Error('the request was given up');
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
