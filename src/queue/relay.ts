// Between the app's body and the request that carries it on: a rendezvous, so that one reader can feed disk and link at once.

/** A rendezvous of one piece: the app is read as fast as the slower of disk and link. */
export class Relay {
  #piece: Buffer | undefined;
  #ended = false;
  #closed = false;
  #wake: (() => void) | undefined;
  #taken: (() => void) | undefined;

  /** Resolves when the piece was taken, or when nobody takes pieces any more. */
  push(piece: Buffer): Promise<void> | undefined {
    if (this.#closed) return undefined;
    this.#piece = piece;
    this.#wake?.();
    return new Promise((resolve) => {
      this.#taken = resolve;
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The way out is gone. */
  close(): void {
    this.#closed = true;
    this.#taken?.();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      if (this.#piece) {
        const piece = this.#piece;
        this.#piece = undefined;
        yield piece;
        this.#taken?.();
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
