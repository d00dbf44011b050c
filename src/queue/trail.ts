// A body on its way out behind its own spool: the app is read at the speed of the disk, whatever the link does. Where the way out keeps
// up, pieces go on as they come; where it falls behind, they are read back from it, so that no more than a few of them are
// in memory.

export class Trail {
  readonly #source: (start: number) => AsyncIterable<Buffer>;
  #written = 0;
  #sent = 0;
  #offered: Buffer | undefined;
  #idle = false;
  #ended = false;
  #closed = false;
  #wake: (() => void) | undefined;

  /** `source`: the body from a byte on, as far as it is there. */
  constructor(source: (start: number) => AsyncIterable<Buffer>) {
    this.#source = source;
  }

  /** Bytes that were taken. */
  get sent(): number {
    return this.#sent;
  }

  /** A piece that the spool has. Nobody has to wait for its being taken. */
  push(piece: Buffer): undefined {
    if (this.#idle && this.#sent === this.#written) this.#offered ??= piece;
    this.#written += piece.length;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The way out is gone, or the app. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      if (this.#closed) throw new Error('the request was given up');
      if (this.#offered) {
        const piece = this.#offered;
        this.#offered = undefined;
        yield piece;
        this.#sent += piece.length;
      } else if (this.#sent < this.#written) {
        for await (const piece of this.#source(this.#sent)) {
          yield piece;
          this.#sent += piece.length;
          if (this.#closed) break;
        }
      } else if (this.#ended) {
        return;
      } else {
        this.#idle = true;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#idle = false;
      }
    }
  }
}
