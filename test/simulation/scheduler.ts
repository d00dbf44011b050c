// A deterministic simulation of one process: a seed decides when timers fire, how long each disk and network operation takes, which of
// them fails, and what runs first of two that are due at the same time. A run that fails is repeated with its seed.
//
//   const simulation = new Simulation({ seed });
//   simulation.install();
//   try {
//     …                                          // build the program; its I/O awaits simulation.delay('disk read', 0.1, 5)
//     await simulation.run(() => isDone, { within: 600_000 });
//   } finally {
//     simulation.uninstall();
//   }
//
// One event runs at a time, and all microtasks and process.nextTick callbacks after it run before the next one. This happens without a
// turn of the real event loop (about a million events a second), by process._tickCallback, which is what Node itself
// calls between two timers. Real I/O has no place inside, since nobody knows when it ends; `real` says how to do it all the same.

import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import { type Event, EventQueue } from './event-queue.ts';
import { replaceGlobals, type Scheduled, type VirtualTime } from './globals.ts';
import { Trace } from './trace.ts';

/** Events between two turns of the real event loop. */
const BATCH = 1024;
/** What one event may ask of the simulation; more is a loop that never ends. */
const CALLS_PER_EVENT = 2_000_000;
/** The time that a setImmediate takes, ms: a loop of them waits for something, and time must pass for it. */
const IMMEDIATE_MS = 0.0002;

export interface SimulationOptions {
  seed: number;
  /** Lines kept of the trace; default 200. */
  trace?: number;
  /** What Date.now() says at virtual time 0; default 2026-01-01. */
  epoch?: number;
  /** More events than this within so much virtual time, ms, are a loop without an end; default 200,000 within 100 ms. */
  endless?: { events: number; withinMs: number };
  /** How likely the process stands still before an event (garbage collection, a busy processor), and for how long at most, ms.
   *  Default: never. */
  lag?: { probability: number; maxMs: number };
}

export interface RunOptions {
  /** Virtual time, ms, after which a predicate that is not met fails the run; default one day. */
  within?: number;
}

/** Why a seed failed: the reason, the seed, the virtual time and the end of the trace. */
export class SimulationFailure extends Error {
  override name = 'SimulationFailure';
}

const realImmediate = globalThis.setImmediate;
const tickCallback = (process as unknown as { _tickCallback?: () => void })._tickCallback;

const FAILURES = ['unhandledRejection', 'uncaughtException'] as const;

export class Simulation implements VirtualTime {
  readonly seed: number;
  readonly epoch: number;
  /** For the simulation's own decisions, and for tests. */
  readonly random: Random;
  readonly numbers: Random;
  readonly bytes: Random;
  readonly trace: Trace;
  readonly #ties: Random;
  readonly #queue = new EventQueue();
  readonly #options: SimulationOptions;
  readonly #endless: { events: number; withinMs: number };
  /** Not 0: a time of 0 often means "never". */
  #now = 1000;
  #order = 0;
  #calls = 0;
  #window = { from: 0, events: 0 };
  #failure: { reason: string; cause: unknown } | undefined;
  #restore: (() => void) | undefined;
  #running = false;
  #inEvent = false;
  #endTurn: () => void = () => {};

  constructor(options: SimulationOptions) {
    if (!tickCallback) throw new Error('This Node.js has no process._tickCallback: run on Node.js 24');
    this.#options = options;
    this.seed = options.seed;
    this.epoch = options.epoch ?? Date.UTC(2026, 0, 1);
    this.#endless = options.endless ?? { events: 200_000, withinMs: 100 };
    this.trace = new Trace(options.trace ?? 200);
    this.random = this.fork('simulation');
    this.numbers = this.fork('Math.random');
    this.bytes = this.fork('node:crypto');
    this.#ties = this.fork('ties');
  }

  /** Random numbers of their own for a part: what it draws does not change what others get. */
  fork(name: string): Random {
    let mixed = this.seed | 0;
    for (const character of name) mixed = Math.imul(mixed ^ character.codePointAt(0)!, 0x01000193);
    return randomFrom(mixed);
  }

  /** Virtual time, ms. */
  get now(): number {
    this.#count();
    return this.#now;
  }

  /** Events that ran. */
  get events(): number {
    return this.trace.count;
  }

  /** true in so many of all cases; 0 to 1. */
  fault(probability: number): boolean {
    return probability > 0 && this.random() < probability;
  }

  /** A whole number; both ends are included. */
  between(low: number, high: number): number {
    return between(this.random, [low, high]);
  }

  oneOf<T>(list: readonly T[]): T {
    return oneOf(this.random, list);
  }

  shuffled<T>(list: readonly T[]): T[] {
    const items = [...list];
    for (let i = items.length - 1; i > 0; i--) {
      const other = this.between(0, i);
      [items[i], items[other]] = [items[other]!, items[i]!];
    }
    return items;
  }

  /** A time from `minMs` to `maxMs`, in whole microseconds. */
  #draw(minMs: number, maxMs: number): number {
    return Math.round((minMs + this.random() * (maxMs - minMs)) * 1000) / 1000;
  }

  /** Runs `run` after `ms` of virtual time. */
  schedule(label: string, ms: number, run: () => void): Scheduled {
    return this.#push(this.#now + ms, this.#ties(), label, run);
  }

  /** An operation that ends after a random time: resolves then. */
  delay(label: string, minMs: number, maxMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(label, this.#draw(minMs, maxMs), resolve);
    });
  }

  /** Real I/O, which ends at a random virtual time: virtual time stands still where the real one takes longer. */
  real<T>(label: string, minMs: number, maxMs: number, task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let end = (): void => {};
      const settled = task().then(
        (value) => {
          end = () => resolve(value);
        },
        (error: unknown) => {
          end = () => reject(error);
        },
      );
      const at = this.#now + this.#draw(minMs, maxMs);
      this.#push(at, this.#ties(), label, () => end(), settled);
    });
  }

  /** See VirtualTime. Node measures timers in whole milliseconds of a clock that it reads once a turn: one may fire up to a
   *  millisecond before performance.now() says so. Timers with the same length fire in the order in which they were set. */
  timer(ms: number, run: () => void): Scheduled {
    const at = Math.floor(this.#now) + ms;
    const tie = randomFrom(Math.imul(at ^ this.seed, 0x9e3779b1) ^ ms)();
    return this.#push(Math.max(at, this.#now), tie, `timer ${ms}`, run);
  }

  immediate(run: () => void): Scheduled {
    return this.#push(this.#now + IMMEDIATE_MS, 0, 'immediate', run);
  }

  #push(at: number, tie: number, label: string, run: () => void, work?: Promise<unknown>): Scheduled {
    this.#count();
    if (this.#running && !this.#inEvent)
      this.fail(new Error(`"${label}" was scheduled by something outside of the simulation`));
    const event: Event = { at, tie, order: this.#order++, label, run, work };
    this.#queue.push(event);
    return { cancel: () => this.#queue.cancel(event) };
  }

  #count(): void {
    if (++this.#calls < CALLS_PER_EVENT) return;
    this.#calls = 0;
    this.fail(new Error('One event goes on and on'));
    throw new Error('One event goes on and on');
  }

  /** A line of the trace. */
  note(label: string): void {
    this.trace.add(this.#now, label);
  }

  /** Fails the run when the present event is over; the first failure counts. */
  fail(cause: unknown): void {
    const reason = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    this.#failure ??= { reason, cause };
  }

  /** Replaces clocks, timers and random numbers of the process, and takes unhandled rejections as failures. */
  install(): void {
    if (this.#restore) return;
    const restoreGlobals = replaceGlobals(this);
    const listener = (cause: unknown): void => {
      this.fail(cause);
      if (this.#inEvent) this.#endTurn();
    };
    const others = FAILURES.map((event) => [event, process.rawListeners(event)] as const);
    for (const event of FAILURES) {
      process.removeAllListeners(event);
      process.on(event, listener);
    }
    this.#restore = () => {
      restoreGlobals();
      for (const [event, listeners] of others) {
        process.off(event, listener);
        for (const other of listeners) process.on(event, other as () => void);
      }
    };
  }

  uninstall(): void {
    this.#restore?.();
    this.#restore = undefined;
  }

  /** Runs events until the virtual time, ms, or until the predicate, which is asked after each event, is met. Rejects with
   *  SimulationFailure. */
  async run(until: number | (() => boolean), { within = 86_400_000 }: RunOptions = {}): Promise<void> {
    if (this.#running) throw new Error('The simulation runs already');
    const limit = typeof until === 'number' ? until : this.#now + within;
    const isMet = typeof until === 'number' ? () => false : until;
    this.#calls = 0;
    // What was called before must have come to rest.
    await new Promise<void>((resolve) => realImmediate(resolve));
    this.#running = true;
    try {
      while (!(await this.#batch(isMet, limit, typeof until === 'number')));
    } catch (cause) {
      this.fail(cause);
    } finally {
      this.#running = false;
      this.#inEvent = false;
    }
    if (this.#failure) throw this.#report(this.#failure);
  }

  /** One turn of the real event loop; true when the run is over. */
  #batch(isMet: () => boolean, limit: number, isTime: boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#endTurn = () => resolve(true);
      realImmediate(() => {
        try {
          for (let i = 0; i < BATCH; i++) {
            if (this.#failure || isMet()) return resolve(true);
            const event = this.#queue.peek();
            if (!event && !isTime)
              throw new Error('Nothing is scheduled any more, and the end is not reached');
            if (!event || event.at > limit) {
              this.#now = Math.max(this.#now, limit);
              if (!isTime) throw new Error(`The end is not reached within the time: ${this.#pending()}`);
              return resolve(true);
            }
            if (event.work) {
              const { work } = event;
              event.work = undefined;
              work.then(() => resolve(false), reject);
              return;
            }
            this.#execute(event);
          }
          resolve(false);
        } catch (cause) {
          if (this.#inEvent) throw cause;
          reject(cause);
        }
      });
    });
  }

  #execute(event: Event): void {
    this.#queue.shift();
    const { lag } = this.#options;
    this.#now = Math.max(this.#now, event.at);
    if (lag && this.#ties() < lag.probability)
      this.#now += Math.round(this.#ties() * lag.maxMs * 1000) / 1000;
    this.trace.add(this.#now, event.label);
    this.#watch();
    this.#calls = 0;
    const { run } = event;
    event.run = undefined; // a later cancel has nothing to do
    this.#inEvent = true;
    try {
      run!();
    } catch (cause) {
      this.fail(cause);
    }
    // What a process.nextTick callback throws goes its way to 'uncaughtException': Node's async hooks have a stack, which only that
    // clears.
    tickCallback!();
    this.#inEvent = false;
  }

  #watch(): void {
    const { events, withinMs } = this.#endless;
    if (this.#now - this.#window.from > withinMs) this.#window = { from: this.#now, events: 0 };
    if (++this.#window.events <= events) return;
    const most = this.trace.histogram(8).join('; ');
    throw new Error(`More than ${events} events within ${withinMs} ms: ${most}`);
  }

  #pending(): string {
    return this.#queue.length === 0
      ? 'nothing is scheduled'
      : `scheduled are ${this.#queue.labels(8).join('; ')}`;
  }

  #report({ reason, cause }: { reason: string; cause: unknown }): SimulationFailure {
    const trace = this.trace.lines.join('\n');
    return new SimulationFailure(
      `Seed ${this.seed} failed at ${this.#now.toFixed(3)} ms, event ${this.events}: ${reason}\nThe last events:\n${trace}`,
      { cause },
    );
  }
}
