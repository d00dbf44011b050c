// Counts the moments at which a request waits, or is about to, and lets a test do something at one of them: each call of what is
// instrumented is one moment when it begins and one when it has resolved, and each item of what it iterates over likewise.

export interface AwaitPoint {
  name: string;
  /** From 1, of those with this name. */
  nth: number;
}

export class AwaitPoints {
  #counts = new Map<string, number>();
  #target: AwaitPoint | undefined;
  #counting = false;
  #act: () => Promise<void> = async () => {};

  /** How often each point was passed since the last `arm`. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** `act` is called at this point; what is instrumented waits until it resolves, where the point is before it. undefined: all points
   *  are only counted. */
  arm(target: AwaitPoint | undefined, act: () => Promise<void>): void {
    this.#counts = new Map();
    this.#counting = true;
    this.#target = target;
    this.#act = act;
  }

  /** Nothing is counted or done any more. */
  disarm(): void {
    this.#counting = false;
  }

  /** undefined where nothing is done here. */
  at(name: string): Promise<void> | undefined {
    if (!this.#counting) return undefined;
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    if (this.#target?.name !== name || this.#target.nth !== count) return undefined;
    return this.#act();
  }

  async #call<T>(name: string, work: () => Promise<T>): Promise<T> {
    await this.at(`before ${name}`);
    const result = await work();
    void this.at(`after ${name}`);
    return result;
  }

  async *#iterate<T>(name: string, items: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = items[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#call(`an item of ${name}`, () => iterator.next());
        if (next.done) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }

  /** The same object, with points around these of its methods: what gives a promise gives one that waits here, and what may give one always
   *  does; what gives an iterable gives one that waits before each item. A function: what becomes of the result. */
  instrument<T extends object>(
    name: string,
    target: T,
    methods: Partial<Record<keyof T, 'promise' | 'items' | ((result: never) => unknown)>>,
  ): T {
    return new Proxy(target, {
      get: (_, property) => {
        const value = Reflect.get(target, property, target) as unknown;
        if (typeof value !== 'function') return value;
        const call = (args: unknown[]): unknown => Reflect.apply(value, target, args);
        const how = methods[property as keyof T];
        const label = `${name}.${String(property)}`;
        if (how === undefined) return (...args: unknown[]) => call(args);
        if (how === 'items')
          return (...args: unknown[]) => this.#iterate(label, call(args) as AsyncIterable<unknown>);
        const result = how === 'promise' ? (same: unknown) => same : (how as (result: unknown) => unknown);
        return async (...args: unknown[]) => result(await this.#call(label, async () => call(args)));
      },
    });
  }
}
