// The events that a simulation has scheduled, as a binary heap. Cancelled events stay in the heap until their time comes, or until they
// are more than half of it: timers are set and cleared far more often than they fire.

export interface Event {
  /** Virtual time, ms. */
  at: number;
  /** Orders events of one time; events with the same tie run in the order in which they were scheduled. */
  tie: number;
  /** The number of the event, in the order of scheduling. */
  order: number;
  label: string;
  /** undefined: cancelled. */
  run: (() => void) | undefined;
  /** Real work that must have ended before the event runs. */
  work?: Promise<unknown> | undefined;
}

const isBefore = (one: Event, other: Event): boolean => {
  if (one.at !== other.at) return one.at < other.at;
  if (one.tie !== other.tie) return one.tie < other.tie;
  return one.order < other.order;
};

export class EventQueue {
  #heap: Event[] = [];
  #cancelled = 0;

  /** Events that will run. */
  get length(): number {
    return this.#heap.length - this.#cancelled;
  }

  push(event: Event): void {
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
  }

  cancel(event: Event): void {
    if (!event.run) return;
    event.run = undefined;
    this.#cancelled++;
    if (this.#cancelled < 64 || this.#cancelled * 2 < this.#heap.length) return;
    this.#heap = this.#heap.filter(({ run }) => run);
    this.#cancelled = 0;
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  /** The next event; it stays in the queue. */
  peek(): Event | undefined {
    while (this.#heap.length > 0 && !this.#heap[0]!.run) {
      this.#shift();
      this.#cancelled--;
    }
    return this.#heap[0];
  }

  /** Removes the event that `peek` returned. */
  shift(): void {
    this.#shift();
  }

  /** The labels of what is scheduled, the next first. */
  labels(limit: number): string[] {
    const live = this.#heap.filter(({ run }) => run);
    live.sort((one, other) => (isBefore(one, other) ? -1 : 1));
    return live.slice(0, limit).map(({ at, label }) => `${at.toFixed(3)} ${label}`);
  }

  #shift(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(at: number): void {
    const heap = this.#heap;
    const event = heap[at]!;
    let i = at;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #down(at: number): void {
    const heap = this.#heap;
    const event = heap[at]!;
    let i = at;
    for (;;) {
      let child = i * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, event)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = event;
  }
}
