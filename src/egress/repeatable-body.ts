// A body that is read once from where it comes, and can be sent again as long as no more than its beginning has left.

export class RepeatableBody {
  readonly #source: AsyncIterator<Buffer>;
  readonly #limit: number;
  #kept: Buffer[] = [];
  /** Pieces that are no longer kept. */
  #dropped = 0;
  #bytes = 0;
  #ended = false;
  #coming: Promise<void> | undefined;

  /** `limit`: what is kept, bytes. */
  constructor(source: AsyncIterable<Buffer>, limit: number) {
    this.#source = source[Symbol.asyncIterator]();
    this.#limit = limit;
  }

  /** All that has left is still there. */
  get isWhole(): boolean {
    return this.#dropped === 0;
  }

  /** From the beginning, so only while it is whole; whoever read it before has ended. What a reader has asked for and does not take is the next
   *  one's. */
  async *pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; ; at += 1) {
      while (at >= this.#dropped + this.#kept.length) {
        if (this.#ended) return;
        this.#coming ??= this.#next().finally(() => {
          this.#coming = undefined;
        });
        await this.#coming;
      }
      const piece = this.#kept[at - this.#dropped]!;
      if (this.#bytes > this.#limit) {
        this.#dropped += this.#kept.length;
        this.#kept = [];
      }
      yield piece;
    }
  }

  async #next(): Promise<void> {
    const { done, value } = await this.#source.next();
    if (done) {
      this.#ended = true;
      return;
    }
    this.#bytes += value.length;
    this.#kept.push(value);
  }
}
