// Replaces the clocks, timers and random numbers of the process with those of a simulation, and puts the real ones back. Modules
// import `sleep` from node:timers/promises: a binding of a built-in module changes when the CommonJS exports change and
// syncBuiltinESMExports() is called. Node's own modules (streams, net) keep the real timers; they need only process.nextTick here.

import { createRequire, syncBuiltinESMExports } from 'node:module';
import { promisify } from 'node:util';
import type { Random } from '../rig/random.ts';

/** An event that can be cancelled. */
export interface Scheduled {
  cancel(): void;
}

/** What the replacements need of the simulation. */
export interface VirtualTime {
  /** Virtual time, ms, with fractions. */
  readonly now: number;
  /** What Date.now() says at virtual time 0. */
  readonly epoch: number;
  /** Of Math.random. */
  readonly numbers: Random;
  /** Of node:crypto. */
  readonly bytes: Random;
  timer(ms: number, run: () => void): Scheduled;
  immediate(run: () => void): Scheduled;
}

type Callback = (...given: unknown[]) => void;
type Replaced = Record<string | symbol, unknown>;

const LONGEST = 2 ** 31 - 1;

/** As Node does: at least 1 ms, whole milliseconds, and 1 ms where the number is too large. */
const milliseconds = (given: unknown): number => {
  const ms = Number(given);
  return ms >= 1 && ms <= LONGEST ? Math.trunc(ms) : 1;
};

/** What setTimeout and setInterval return. */
export class VirtualTimer {
  readonly #time: VirtualTime;
  readonly #ms: number;
  readonly #repeats: boolean;
  readonly #run: () => void;
  #scheduled: Scheduled | undefined;
  #ref = true;
  static #numbers = 0;
  readonly #number = ++VirtualTimer.#numbers;

  constructor(time: VirtualTime, run: () => void, ms: number, repeats: boolean) {
    this.#time = time;
    this.#ms = ms;
    this.#repeats = repeats;
    this.#run = run;
    this.#start();
  }

  #start(): void {
    this.#scheduled = this.#time.timer(this.#ms, () => {
      this.#scheduled = undefined;
      try {
        this.#run();
      } finally {
        if (this.#repeats && !this.#closed && !this.#scheduled) this.#start();
      }
    });
  }

  #closed = false;

  ref(): this {
    this.#ref = true;
    return this;
  }

  unref(): this {
    this.#ref = false;
    return this;
  }

  hasRef(): boolean {
    return this.#ref;
  }

  refresh(): this {
    if (this.#closed) return this;
    this.#scheduled?.cancel();
    this.#start();
    return this;
  }

  close(): this {
    this.#closed = true;
    this.#scheduled?.cancel();
    this.#scheduled = undefined;
    return this;
  }

  [Symbol.toPrimitive](): number {
    return this.#number;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

class VirtualImmediate {
  readonly #scheduled: Scheduled;

  constructor(time: VirtualTime, run: () => void) {
    this.#scheduled = time.immediate(run);
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }

  close(): void {
    this.#scheduled.cancel();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const abortError = (signal: AbortSignal): Error =>
  Object.assign(new Error('The operation was aborted', { cause: signal.reason }), {
    name: 'AbortError',
    code: 'ABORT_ERR',
  });

interface SleepOptions {
  signal?: AbortSignal;
}

const sleeper =
  (start: (run: () => void, ms: number) => { close(): unknown }) =>
  <T>(ms: number, value: T, { signal }: SleepOptions = {}): Promise<T> => {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        timer.close();
        reject(abortError(signal!));
      };
      const timer = start(() => {
        signal?.removeEventListener('abort', stop);
        resolve(value);
      }, ms);
      signal?.addEventListener('abort', stop, { once: true });
    });
  };

/** The functions of node:timers and of the global object, and of node:timers/promises. */
const timersOf = (time: VirtualTime): { timers: Replaced; promises: Replaced } => {
  const start =
    (repeats: boolean) =>
    (run: Callback, ms?: unknown, ...given: unknown[]) => {
      if (typeof run !== 'function') throw new TypeError('A timer needs a function');
      return new VirtualTimer(time, () => run(...given), milliseconds(ms), repeats);
    };
  const real = { clearTimeout, clearInterval, clearImmediate };
  const clear = (other: (timer: never) => void) => (timer: unknown) => {
    if (timer instanceof VirtualTimer || timer instanceof VirtualImmediate) timer.close();
    else other(timer as never);
  };
  const immediate = (run: Callback, ...given: unknown[]) => new VirtualImmediate(time, () => run(...given));
  const sleep = sleeper((run, ms) => start(false)(run, ms));
  const turn = sleeper((run) => immediate(run));
  const timers = {
    setTimeout: Object.assign(start(false), { [promisify.custom]: sleep }),
    setInterval: start(true),
    setImmediate: Object.assign(immediate, {
      [promisify.custom]: <T>(value: T, options?: SleepOptions) => turn(0, value, options),
    }),
    clearTimeout: clear(real.clearTimeout),
    clearInterval: clear(real.clearInterval),
    clearImmediate: clear(real.clearImmediate),
  };
  const promises = {
    setTimeout: sleep,
    setImmediate: <T>(value: T, options?: SleepOptions) => turn(0, value, options),
    async *setInterval<T>(ms: number, value: T, options?: SleepOptions) {
      for (;;) yield await sleep(ms, value, options);
    },
  };
  return { timers, promises };
};

const timeoutSignal =
  (time: VirtualTime) =>
  (ms: number): AbortSignal => {
    const controller = new AbortController();
    const reason = new DOMException('The operation was aborted due to timeout', 'TimeoutError');
    time.timer(milliseconds(ms), () => controller.abort(reason));
    return controller.signal;
  };

const dateOf = (time: VirtualTime): DateConstructor => {
  const now = (): number => Math.floor(time.epoch + time.now);
  return new Proxy(Date, {
    construct: (target, given, self) => Reflect.construct(target, given.length > 0 ? given : [now()], self),
    apply: () => new Date(now()).toString(),
    get: (target, name, self) => (name === 'now' ? now : Reflect.get(target, name, self)),
  });
};

const uuidOf = (bytes: Buffer): string => {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
};

/** What draws random bytes at once; what calls back, and WebCrypto's keys, stay real. */
const cryptoOf = (random: Random): { node: Replaced; web: Replaced } => {
  const fill = <T extends ArrayBufferView>(view: T, offset = 0, size = view.byteLength - offset): T => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, size);
    for (let i = 0; i < size; i += 4) {
      const word = random() * 2 ** 32;
      for (let n = 0; n < 4 && i + n < size; n++) bytes[i + n] = word >>> (n * 8);
    }
    return view;
  };
  const realBytes = require('node:crypto').randomBytes as (size: number, done: Callback) => void;
  const randomBytes = (size: number, done?: Callback) =>
    done ? realBytes(size, done) : fill(Buffer.alloc(size));
  const randomUUID = () => uuidOf(fill(Buffer.alloc(16)));
  return {
    node: { randomBytes, randomUUID, randomFillSync: fill },
    web: { randomUUID, getRandomValues: <T extends ArrayBufferView>(view: T) => fill(view) },
  };
};

const hrtimeOf = (time: VirtualTime) => {
  const bigint = (): bigint => BigInt(Math.floor(time.now * 1e6));
  const hrtime = (since?: [number, number]): [number, number] => {
    const at = bigint() - (since ? BigInt(since[0]) * 1_000_000_000n + BigInt(since[1]) : 0n);
    return [Number(at / 1_000_000_000n), Number(at % 1_000_000_000n)];
  };
  return Object.assign(hrtime, { bigint });
};

const require = createRequire(import.meta.url);

/** Replaces them all; the returned function puts the real ones back. */
export const replaceGlobals = (time: VirtualTime): (() => void) => {
  const restore: (() => void)[] = [];
  const replace = (owner: object, replacements: Replaced): void => {
    for (const name of Reflect.ownKeys(replacements)) {
      const before = Object.getOwnPropertyDescriptor(owner, name);
      const value = replacements[name];
      Object.defineProperty(owner, name, { configurable: true, enumerable: true, writable: true, value });
      restore.push(() => {
        if (before) Object.defineProperty(owner, name, before);
        else Reflect.deleteProperty(owner, name);
      });
    }
  };
  const { timers, promises } = timersOf(time);
  const crypto = cryptoOf(time.bytes);
  replace(globalThis, { ...timers, Date: dateOf(time) });
  replace(require('node:timers'), timers);
  replace(require('node:timers/promises'), promises);
  replace(performance, { now: () => time.now });
  replace(Math, { random: time.numbers });
  replace(AbortSignal, { timeout: timeoutSignal(time) });
  replace(process, { hrtime: hrtimeOf(time) });
  replace(require('node:crypto'), crypto.node);
  replace(globalThis.crypto, crypto.web);
  syncBuiltinESMExports();
  return () => {
    for (const undo of restore.reverse()) undo();
    syncBuiltinESMExports();
  };
};
