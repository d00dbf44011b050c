// How long the operations of a process have been under way, to find one that hangs. An age counts only time in which the event loop turned:
// an operation that has ended and whose callback waits behind other work does not hang, and a stopped or sleeping process counts nothing.

/** How often ages grow, ms. */
const TICK_MS = 500;
/** The most that one tick adds, ms: a late tick says that the event loop was busy or stopped. */
const MOST_MS = 2 * TICK_MS;

export interface Stalled {
  /** The operation, as a noun: `a write of the store`. */
  what: string;
  /** How long it has been under way, ms. */
  ms: number;
}

export class StallWatch {
  #pending = new Map<symbol, Stalled>();
  #timer: NodeJS.Timeout | undefined;
  #ticked = 0;
  /** Writes that have succeeded. */
  written = 0;

  /** Resolves and rejects as `operation` does. */
  async write<T>(what: string, operation: Promise<T>): Promise<T> {
    const result = await this.watch(what, operation);
    this.written += 1;
    return result;
  }

  /** Resolves and rejects as `operation` does. */
  async watch<T>(what: string, operation: Promise<T>): Promise<T> {
    const key = Symbol();
    this.#pending.set(key, { what, ms: 0 });
    this.#start();
    try {
      return await operation;
    } finally {
      this.#pending.delete(key);
    }
  }

  /** The operation that has been under way longest; undefined: none is. */
  get oldest(): Stalled | undefined {
    // A map iterates in the order of insertion.
    const [first] = this.#pending.values();
    return first && { ...first };
  }

  #start(): void {
    if (this.#timer) return;
    this.#ticked = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  #tick(): void {
    const now = performance.now();
    const passed = Math.min(now - this.#ticked, MOST_MS);
    this.#ticked = now;
    for (const operation of this.#pending.values()) operation.ms += passed;
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
