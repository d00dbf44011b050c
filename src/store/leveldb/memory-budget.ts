// The bytes of all writers that wait for the disk. What would pass the bound waits: that is the back-pressure on the apps.

/** Also what sizes a writer's chunk: all writers together gather at most half of it. */
export const BUDGET_BYTES = 32 * 1024 * 1024;

export class MemoryBudget {
  readonly #limit: number;
  #taken = 0;
  #waiting: PromiseWithResolvers<void>[] = [];

  constructor(limit = BUDGET_BYTES) {
    this.#limit = limit;
  }

  take(bytes: number): void {
    this.#taken += bytes;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    while (this.#taken < this.#limit && this.#waiting.length > 0) this.#waiting.shift()!.resolve();
  }

  /** undefined where there is room now. */
  room(): Promise<void> | undefined {
    if (this.#taken < this.#limit) return undefined;
    const waiter = Promise.withResolvers<void>();
    this.#waiting.push(waiter);
    return waiter.promise;
  }
}
