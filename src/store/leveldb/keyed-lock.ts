// One at a time for each key: a change of an entry reads its slot and writes it back, and two of them must not cross.

export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Of several keys at once: all are asked for in one breath, so two who want some of the same never wait for each other. */
  async runAll<T>(keys: readonly string[], task: () => Promise<T>): Promise<T> {
    const inside = Promise.withResolvers<void>();
    const end = Promise.withResolvers<void>();
    let left = keys.length;
    const held = keys.map((key) =>
      this.run(key, () => {
        left -= 1;
        if (left === 0) inside.resolve();
        return end.promise;
      }),
    );
    if (left > 0) await inside.promise;
    try {
      return await task();
    } finally {
      end.resolve();
      await Promise.all(held);
    }
  }

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    await before;
    try {
      return await task();
    } finally {
      if (this.#tails.get(key) === promise) this.#tails.delete(key);
      resolve();
    }
  }
}
