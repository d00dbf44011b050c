// Which requests still leave the machine. A piece that Envoy took may lie in its buffers, and in the kernel's, for minutes; what counts
// time from the end of a request, or looks for requests that the link has left hanging, must not take that for silence.

import { timerMs } from '../platform/timer.ts';
import { readMovingPorts } from './tcp-progress.ts';

/** How often the kernel is asked while something may be on its way, ms. */
const EVERY_MS = 1_000;
/** What fits between the queue and the link, bytes: a Unix socket, Envoy's read-ahead on both sides, a send buffer. */
const BUFFERED = 1024 * 1024;
/** The slowest share of a link that counts as moving, bytes per second: four uploads at once over 8 kbit/s. The kernel tells no connection
 *  from another of the same port, so this bounds how long others can make a request look as if it moved. */
const SLOWEST = 250;

export interface Departure {
  /** The pieces of the request, as they are taken. */
  through(pieces: AsyncIterable<Buffer>): AsyncIterable<Buffer>;
  /** The answer is there, or there will be none. */
  end(): void;
}

interface Tracked {
  port: number | undefined;
  taken: number;
  /** When the last piece was taken, ms of performance.now(). */
  takenAt: number;
  onProgress: () => void;
}

export class Departures {
  readonly #tracked = new Set<Tracked>();
  readonly #read: () => Promise<ReadonlySet<number>>;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `read`: ports of peers to whom bytes are on their way. */
  constructor(read = readMovingPorts, everyMs = EVERY_MS) {
    this.#read = read;
    this.#everyMs = everyMs;
  }

  /** `port`: of the upstream; undefined: any. `onProgress`: called while bytes of the request may still be on their way to it. */
  track(port: number | undefined, onProgress: () => void): Departure {
    const one: Tracked = { port, taken: 0, takenAt: performance.now(), onProgress };
    this.#tracked.add(one);
    this.#later();
    return {
      end: () => {
        this.#tracked.delete(one);
      },
      async *through(pieces) {
        for await (const piece of pieces) {
          one.taken += piece.length;
          one.takenAt = performance.now();
          yield piece;
        }
      },
    };
  }

  #later(): void {
    if (this.#timer || this.#closed || this.#tracked.size === 0) return;
    this.#timer = setTimeout(() => void this.#look(), timerMs(this.#everyMs)).unref();
  }

  async #look(): Promise<void> {
    const now = performance.now();
    const open = [...this.#tracked].filter((one) => mayMove(one, now));
    if (open.length > 0) {
      const moving = await this.#read();
      const moves = ({ port }: Tracked) => (port === undefined ? moving.size > 0 : moving.has(port));
      for (const one of open) if (this.#tracked.has(one) && moves(one)) one.onProgress();
    }
    this.#timer = undefined;
    this.#later();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#tracked.clear();
  }
}

const mayMove = ({ taken, takenAt }: Tracked, now: number): boolean =>
  now - takenAt < (Math.min(taken, BUFFERED) / SLOWEST) * 1_000;
