// Rounds of work that follow changes: a little after the last one, not too often, and with pauses that grow while they fail.

import { timerMs } from '../../../platform/timer.ts';
import type { LaybyError } from '../../../telemetry/error.ts';
import { KubernetesError, problemOf } from './refusal.ts';

/** After a change, ms: what follows in the next moments is done in the same round. */
const QUIET_MS = 200;
/** Pauses after failures, ms. */
const SHORTEST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;
/** After the network of the node has changed; not all of a fleet at once, ms. */
const WAKING_MS = 1_000;

export interface RoundsOptions {
  /** One at a time. It may call `at`. */
  run: () => Promise<void>;
  /** From the end of one to the beginning of the next, ms. */
  every: number;
  /** Of a round that failed; the same is told once. It is tried again. */
  onProblem: (problem: LaybyError) => void;
  /** After a change, ms; default: 200. */
  quiet?: number;
  /** Pauses grow from the first to the second, ms; default: two seconds, a minute. */
  shortestPause?: number;
  longestPause?: number;
}

export class Rounds {
  readonly #options: Required<RoundsOptions>;
  #timer: NodeJS.Timeout | undefined;
  /** performance.now(), as all that follow. */
  #dueAt = Number.POSITIVE_INFINITY;
  #endedAt = Number.NEGATIVE_INFINITY;
  /** Not before, after a failure. */
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #problem: string | undefined;
  #running: Promise<void> | undefined;
  /** What was asked for while one runs. */
  #next = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(options: RoundsOptions) {
    const pauses = { shortestPause: SHORTEST_PAUSE_MS, longestPause: LONGEST_PAUSE_MS };
    this.#options = { quiet: QUIET_MS, ...pauses, ...options };
  }

  /** Something has changed. */
  soon(): void {
    this.at(performance.now() + this.#options.quiet);
  }

  /** A round at this time (performance.now()), or earlier for another reason, or later after a pause. */
  at(wanted: number): void {
    if (this.#running) {
      this.#next = Math.min(this.#next, wanted);
      return;
    }
    const time = Math.max(wanted, this.#endedAt + this.#options.every, this.#pausedUntil);
    if (this.#closed || time >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = time;
    this.#timer = setTimeout(() => this.#round(), timerMs(Math.max(1, time - performance.now()))).unref();
  }

  /** The server may be there again: a pause ends. */
  wake(): void {
    if (this.#failures === 0) return;
    this.#pausedUntil = Number.NEGATIVE_INFINITY;
    this.at(performance.now() + this.#options.quiet + Math.random() * WAKING_MS);
  }

  #round(): void {
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#running = this.#try().finally(() => {
      const now = performance.now();
      const next = this.#failures > 0 ? now : this.#next;
      this.#running = undefined;
      this.#next = Number.POSITIVE_INFINITY;
      this.#endedAt = now;
      this.at(next);
    });
  }

  async #try(): Promise<void> {
    try {
      await this.#options.run();
      this.#failures = 0;
      this.#problem = undefined;
      this.#pausedUntil = Number.NEGATIVE_INFINITY;
    } catch (error) {
      if (!this.#closed) this.#failed(problemOf(error));
    }
  }

  #failed(problem: LaybyError): void {
    const { onProblem, shortestPause, longestPause } = this.#options;
    if (this.#problem !== problem.message) onProblem(problem);
    this.#problem = problem.message;
    // With jitter, since all vehicles of a fleet lose and find one server together.
    const most = Math.min(longestPause, shortestPause * 2 ** this.#failures);
    const asked = problem instanceof KubernetesError ? problem.retryAfter : 0;
    this.#pausedUntil = performance.now() + Math.max(asked, most * (0.5 + Math.random() / 2));
    this.#failures += 1;
  }

  /** Resolves when no round is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }
}
