// When the index is written: who waits for it, how long changes may gather, and what happens when the disk does not take them. What a
// flush writes is for entry-index.ts.

import { setImmediate as afterIo } from 'node:timers/promises';
import { storeFailed } from './level-errors.ts';

/** Without someone waiting a flush may gather this long, ms: a crash leaves that much to be indexed again. */
const GATHER = 100;
/** Slots that make a flush due at once, and that stop the commits until it is done. */
const DUE = 2048;
const BOUND = 8192;
const RETRY = 1000;

export interface Flush {
  /** Changes that wait. */
  waiting(): number;
  /** Whether there is anything to write. */
  dirty(): boolean;
  /** Writes all that had changed by now, in one synced batch. Where it rejects, it is all changed still. */
  write(): Promise<void>;
  /** After a write, when those who waited for it were told. */
  written(): void;
}

export class FlushLoop {
  readonly #flush: Flush;
  #waiting: PromiseWithResolvers<void>[] = [];
  #after: (() => void)[] = [];
  #roomy: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;

  constructor(flush: Flush) {
    this.#flush = flush;
  }

  /** Resolves when everything changed so far is on the disk. Rejects with LAYBY_STORE_FAILED where a flush failed: the
   *  changes stand all the same and are tried again. */
  flushed(): Promise<void> {
    const waiter = Promise.withResolvers<void>();
    this.#waiting.push(waiter);
    this.#run();
    return waiter.promise;
  }

  /** Calls `run` after the next flush that succeeds. */
  afterFlush(run: () => void): void {
    this.#after.push(run);
  }

  /** Something changed that nobody waits for. */
  soon(): void {
    if (this.#flush.waiting() >= DUE) this.#run();
    else this.#timer ??= setTimeout(() => this.#run(), GATHER).unref();
  }

  /** Resolves at once, or when the layers have shrunk; rejects while they cannot be written. */
  room(): Promise<void> | undefined {
    if (this.#flush.waiting() < BOUND) return undefined;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#roomy ??= Promise.withResolvers<void>();
    this.#run();
    return this.#roomy.promise;
  }

  /** Resolves when no flush is under way, and starts none by itself any more. */
  async stop(): Promise<void> {
    await this.#running;
    clearTimeout(this.#timer);
  }

  #run(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#wanted = true;
    this.#running ??= this.#loop().finally(() => {
      this.#running = undefined;
      if (this.#wanted) this.#run();
    });
  }

  async #loop(): Promise<void> {
    while (this.#wanted) {
      await afterIo(); // so that all who change something now share the batch
      this.#wanted = false;
      const waiting = this.#waiting;
      this.#waiting = [];
      const dirty = this.#flush.dirty();
      if (dirty) {
        try {
          await this.#flush.write();
        } catch (cause) {
          this.#failed(cause, waiting);
          return;
        }
        this.#failure = undefined;
      }
      this.#roomy?.resolve();
      this.#roomy = undefined;
      for (const { resolve } of waiting) resolve();
      for (const run of this.#after.splice(0)) run();
      if (dirty) this.#flush.written();
    }
  }

  #failed(cause: unknown, waiting: PromiseWithResolvers<void>[]): void {
    this.#failure = storeFailed('The index of the store could not be written', cause);
    for (const { reject } of [...waiting, ...this.#waiting.splice(0)]) reject(this.#failure);
    this.#roomy?.reject(this.#failure);
    this.#roomy = undefined;
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), RETRY).unref();
  }
}
