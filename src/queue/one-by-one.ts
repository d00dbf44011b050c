// One after the other, of what has the same name; different names do not wait for each other.

export class OneByOne {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Resolves and rejects as `what` does, which begins when all that was given before under this name is over. */
  async run<T>(name: string, what: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name);
    const mine = before ? before.then(what, what) : what();
    this.#last.set(name, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(name) === mine) this.#last.delete(name);
    }
  }
}
