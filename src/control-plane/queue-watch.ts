// Whether the queue works: asked again and again at its admin listener, since a process that hangs keeps its connections. Not working is what
// it says of itself (503), at once, or no answer for 10 s.

import type { Pool } from 'undici';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';

/** From one answer to the next question, ms. */
const EVERY_MS = 2_000;
/** The longest that one answer may take, ms. */
const ANSWER_MS = 4_000;
/** Without any answer for this long the queue does not work, ms. */
const SILENT_MS = 10_000;
/** A single question may fail because this process itself was stopped. */
const MISSES = 2;
/** Of what the queue says of itself, characters. */
const TEXT_CHARS = 500;

export interface QueueProblem {
  /** It gives no answer at all. */
  silent: boolean;
  text: string;
  /** ms since the epoch. */
  since: number;
}

export class QueueWatch {
  readonly #queue: Pool;
  readonly #log: Logger;
  readonly #closed = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #answered = performance.now();
  #answeredAt = Date.now();
  #misses = 0;
  #problem: QueueProblem | undefined;
  /** Called when `problem` comes or goes. */
  onChange: () => void = () => {};

  /** `queue`: to its admin listener; closed with the watch. */
  constructor(queue: Pool, log: Logger) {
    this.#queue = queue;
    this.#log = log;
    this.#timer = setTimeout(() => void this.#ask(), EVERY_MS).unref();
  }

  /** Why the queue does not work; undefined: it does, or has not been asked long enough. */
  get problem(): QueueProblem | undefined {
    return this.#problem;
  }

  queueAnswers(): boolean {
    return this.#problem === undefined;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    clearTimeout(this.#timer);
    await this.#queue.destroy();
  }

  async #ask(): Promise<void> {
    try {
      const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(ANSWER_MS)]);
      const { statusCode, body } = await this.#queue.request({ path: '/readyz', method: 'GET', signal });
      const text = (await body.text()).trim().slice(0, TEXT_CHARS);
      this.#misses = 0;
      this.#answered = performance.now();
      this.#answeredAt = Date.now();
      // A queue of an earlier version has no such path, and answers.
      this.#found(
        statusCode === 503 ? { silent: false, text: `the queue does not work: ${text}` } : undefined,
      );
    } catch (error) {
      this.#missed(error);
    }
    if (!this.#closed.signal.aborted) this.#timer = setTimeout(() => void this.#ask(), EVERY_MS).unref();
  }

  #missed(error: unknown): void {
    this.#misses += 1;
    if (this.#misses < MISSES || performance.now() - this.#answered < SILENT_MS) return;
    const since = new Date(this.#answeredAt).toISOString();
    this.#found({ silent: true, text: `the queue does not answer since ${since} (${messageOf(error)})` });
  }

  #found(problem: Omit<QueueProblem, 'since'> | undefined): void {
    if (this.#closed.signal.aborted) return;
    const before = this.#problem;
    this.#problem = problem && {
      ...problem,
      since: before?.since ?? (problem.silent ? this.#answeredAt : Date.now()),
    };
    if ((before === undefined) === (problem === undefined)) return;
    if (problem) this.#log.error({ problem: problem.text }, 'the queue does not work');
    else this.#log.info('the queue works again');
    this.onChange();
  }
}
