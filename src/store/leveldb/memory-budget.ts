// The bytes of all writers that wait for the disk, and the buffers they wait in. What would pass the bound waits: that is the
// back-pressure on the apps. Buffers are used again, since the garbage collector is slow to see memory outside its heap.

/** Also what sizes a writer's chunk: all writers together gather at most half of it. */
export const BUDGET_BYTES = 8 * 1024 * 1024;

/** What one that is let in takes, more or less: a piece as it comes from a socket. */
const WOKEN_BYTES = 64 * 1024;

/** Smaller ones come from Node's own pool and are not worth keeping. */
const SMALLEST_KEPT = 16 * 1024;
/** Room for a chunk's header beside a payload that is a power of two. */
const HEADER_ROOM = 64;

export class MemoryBudget {
  readonly #limit: number;
  readonly #free = new Map<number, ArrayBuffer[]>();
  #kept = 0;
  #taken = 0;
  #waking = false;
  #waiting: PromiseWithResolvers<void>[] = [];

  constructor(limit = BUDGET_BYTES) {
    this.#limit = limit;
  }

  /** A buffer of exactly this many bytes, content undefined; `release` takes it back. */
  buffer(bytes: number): Buffer {
    if (bytes < SMALLEST_KEPT) return Buffer.allocUnsafe(bytes);
    const size = sizeClass(bytes);
    const memory = this.#free.get(size)?.pop();
    if (memory) this.#kept -= size;
    else if (this.#lacking(size)) this.#discard(size);
    return Buffer.from(memory ?? new ArrayBuffer(size), 0, bytes);
  }

  /** Nobody may use it after this. */
  release(buffer: Buffer): void {
    if (buffer.length < SMALLEST_KEPT) return;
    const memory = buffer.buffer as ArrayBuffer;
    const size = memory.byteLength;
    if (size !== sizeClass(buffer.length)) return;
    if (this.#lacking(size)) {
      memory.transfer(0);
      return;
    }
    const free = this.#free.get(size) ?? [];
    this.#free.set(size, free);
    free.push(memory);
    this.#kept += size;
  }

  /** Those of other sizes go where one of `size` would find no place: writers came or went, and their chunks have another size now. */
  #discard(size: number): void {
    for (const [other, free] of this.#free)
      while (this.#lacking(size) && free.length > 0) {
        free.pop()!.transfer(0);
        this.#kept -= other;
      }
  }

  /** What waits for the disk and what is kept stay under the bound together. */
  #lacking(size: number): boolean {
    return this.#taken + this.#kept + size > this.#limit;
  }

  take(bytes: number): void {
    this.#taken += bytes;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    this.#wake();
  }

  /** A few at a time: were all woken at once, each would take the room that is there for one. */
  #wake(): void {
    for (let room = this.#limit - this.#taken; room > 0 && this.#waiting.length > 0; room -= WOKEN_BYTES)
      this.#waiting.shift()!.resolve();
    if (this.#waiting.length === 0 || this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      if (this.#taken < this.#limit) this.#wake(); // those before may have nothing to bring
    });
  }

  /** undefined where there is room now. */
  room(): Promise<void> | undefined {
    if (this.#taken < this.#limit) return undefined;
    const waiter = Promise.withResolvers<void>();
    this.#waiting.push(waiter);
    return waiter.promise;
  }
}

const sizeClass = (bytes: number): number => 2 ** Math.ceil(Math.log2(bytes - HEADER_ROOM)) + HEADER_ROOM;
