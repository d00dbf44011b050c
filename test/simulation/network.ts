// The way out in a simulation: in the place of the Egress, destinations that take requests, refuse them, hang, break off in the middle, or
// take everything and lose the answer. The network keeps what each of them has.
//
//   const network = new SimulatedNetwork(simulation);
//   network.behaves('dashcam', { kind: 'down' });
//   network.behaves('dashcam', () => (simulation.fault(0.1) ? { kind: 'break', afterBytes: 100_000 } : UP));
//   new Replay({ egress: network.egress, … });
//   network.deliveries                             // in the order in which the destinations had them

import { createHash } from 'node:crypto';
import { addAbortSignal, Readable } from 'node:stream';
import { Deadline } from '../../src/egress/deadline.ts';
import {
  ANSWER_PATIENCE_MS,
  type Answer,
  Egress,
  type OutgoingBody,
  type SendOptions,
} from '../../src/egress/egress.ts';
import type { Destination } from '../../src/policy/policy.ts';
import type { EntryHead } from '../../src/store/store.ts';
import { NO_LINK_HEADER } from '../../src/wire/names.ts';
import type { Simulation } from './scheduler.ts';

/** A request as a destination sees it. */
export interface Attempt {
  destination: string;
  /** Of the entry, also the idempotency key. */
  id: string;
  method: string;
  url: string;
  headers: readonly string[];
  /** Virtual times, ms; `ended`: when the destination had answered, or the connection was gone. */
  began: number;
  ended: number | undefined;
  /** Bytes of the body that the destination has. */
  bytes: number;
  /** It has all of the body. */
  whole: boolean;
  /** Of a whole body, lower-case hex. */
  sha256: string | undefined;
  /** Of a whole body; only with `keepBodies`. */
  body: Buffer | undefined;
  trailers: readonly string[];
  /** What it answered, also where the answer was lost. */
  status: number | undefined;
}

export interface Reply {
  status: number;
  /** Names and values in turn. */
  headers?: readonly string[];
  body?: string | Buffer;
}

/** What a destination does with one request.
 *
 *  answer        the reply, after the whole body; `early`: after so many bytes, and the rest is never read; `after`: so many ms later;
 *                `bodyBreaks`: the answer's body breaks off in the middle; `lost`: the destination has done it, but the answer does not arrive
 *  down          it is not reached: Envoy answers instead of it (response flag `flag`, default UF)
 *  hang          it takes so many bytes (default all), and says nothing
 *  silent        the link is lost after so many bytes (default all), and nobody reports it: Envoy notices it after LOST_AFTER_MS
 *  break         the connection breaks after so many bytes; `flag`: and Envoy says so, instead of a reset */
export type Behaviour =
  | {
      kind: 'answer';
      reply: Reply | ((attempt: Attempt) => Reply);
      early?: number;
      after?: number;
      bodyBreaks?: boolean;
      lost?: 'reset' | 'flag';
      interim?: { status: number; headers: string[] };
    }
  | { kind: 'down'; flag?: string }
  | { kind: 'hang' | 'silent'; afterBytes?: number }
  | { kind: 'break'; afterBytes: number; flag?: string };

/** As TCP_USER_TIMEOUT of control-plane/resources/bounds.ts, ms. */
const LOST_AFTER_MS = 60_000;

export const UP: Behaviour = { kind: 'answer', reply: { status: 200 } };
export const DOWN: Behaviour = { kind: 'down' };
export const HANGS: Behaviour = { kind: 'hang' };
export const answers = (status: number): Behaviour => ({ kind: 'answer', reply: { status } });

export interface NetworkOptions {
  /** Time of one way, ms. */
  latency?: readonly [minMs: number, maxMs: number];
  /** Time of one piece of a body, ms. */
  piece?: readonly [minMs: number, maxMs: number];
  /** Whether `body` of an attempt is kept. */
  keepBodies?: boolean;
}

interface Exchange {
  attempt: Attempt;
  cut: (reason: Error) => void;
}

type Decide = (attempt: Attempt) => Behaviour;

export class SimulatedNetwork {
  /** All requests, in the order in which they began. */
  readonly attempts: Attempt[] = [];
  /** Whole requests that a destination answered with 2xx, in the order in which it had them. */
  readonly deliveries: Attempt[] = [];
  readonly egress: Egress;
  readonly #simulation: Simulation;
  readonly #latency: readonly [number, number];
  readonly #piece: readonly [number, number];
  readonly #keepBodies: boolean;
  readonly #behaviours = new Map<string, Decide>();
  readonly #exchanges = new Set<Exchange>();
  /** Links that came back, as the program said. */
  readonly linksBack = new Map<string, number>();

  constructor(simulation: Simulation, options: NetworkOptions = {}) {
    this.#simulation = simulation;
    this.#latency = options.latency ?? [1, 40];
    this.#piece = options.piece ?? [0.1, 10];
    this.#keepBodies = options.keepBodies ?? false;
    this.egress = new SimulatedEgress(this);
  }

  /** From now on; requests under way go on as they began. A destination that was never named is up. */
  behaves(destination: string, behaviour: Behaviour | Decide): void {
    this.#behaviours.set(destination, typeof behaviour === 'function' ? behaviour : () => behaviour);
  }

  /** Breaks all connections to a destination, or to all of them. */
  cut(destination?: string, reason = 'the connection was reset'): void {
    for (const { attempt, cut } of [...this.#exchanges])
      if (destination === undefined || attempt.destination === destination) cut(new Error(reason));
  }

  /** Requests under way. */
  get open(): Attempt[] {
    return [...this.#exchanges].map(({ attempt }) => attempt);
  }

  /** See Egress.send. */
  async send(
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    { signal, onInterim }: SendOptions,
  ): Promise<Answer> {
    signal.throwIfAborted();
    const attempt: Attempt = {
      destination: destination.name,
      id: head.id,
      method: head.method,
      url: head.url,
      headers: [...head.headers],
      began: performance.now(),
      ended: undefined,
      bytes: 0,
      whole: false,
      sha256: undefined,
      body: undefined,
      trailers: [],
      status: undefined,
    };
    this.attempts.push(attempt);
    const behaviour = this.#behaviours.get(destination.name)?.(attempt) ?? UP;
    const end = new AbortController();
    const exchange = { attempt, cut: (reason: Error) => end.abort(reason) };
    this.#exchanges.add(exchange);
    this.#note(attempt, `begins: ${behaviour.kind}`);
    const stop = AbortSignal.any([signal, end.signal]);
    try {
      const patience = Math.max(ANSWER_PATIENCE_MS, destination.answerTimeout ?? 0);
      const exchanged = this.#exchange(attempt, behaviour, body, { stop, patience, onInterim });
      return await until(stop, exchanged);
    } catch (error) {
      this.#note(attempt, `ends: ${(error as Error).message}`);
      throw error;
    } finally {
      attempt.ended ??= performance.now();
      this.#exchanges.delete(exchange);
    }
  }

  #note({ destination, method, url }: Attempt, what: string): void {
    this.#simulation.note(`${destination} ${method} ${url} ${what}`);
  }

  #way(attempt: Attempt, what: string): Promise<void> {
    return this.#simulation.delay(`${what} ${attempt.destination}`, ...this.#latency);
  }

  async #exchange(
    attempt: Attempt,
    behaviour: Behaviour,
    body: OutgoingBody,
    around: { stop: AbortSignal; patience: number; onInterim: SendOptions['onInterim'] },
  ): Promise<Answer> {
    const { stop, patience, onInterim } = around;
    await this.#way(attempt, 'to');
    if (behaviour.kind === 'down') return this.#envoys(attempt, behaviour.flag ?? 'UF', stop);
    const limit = limitOf(behaviour);
    if (behaviour.kind === 'answer' && behaviour.interim && onInterim && !stop.aborted)
      onInterim(behaviour.interim.status, behaviour.interim.headers);
    await this.#take(attempt, body, limit, stop);
    switch (behaviour.kind) {
      case 'hang':
        await this.#simulation.delay(`patience for ${attempt.destination}`, patience, patience);
        throw new Error(`nothing moved for ${patience / 1000} s`);
      case 'silent':
        await this.#simulation.delay(`loss of ${attempt.destination}`, LOST_AFTER_MS, LOST_AFTER_MS);
        return this.#envoys(attempt, 'UC', stop);
      case 'break':
        if (behaviour.flag !== undefined) return this.#envoys(attempt, behaviour.flag, stop);
        throw new Error('the connection was reset');
    }
    stop.throwIfAborted(); // a request that is cut short never looks whole
    const { lost, bodyBreaks = false, after = 0 } = behaviour;
    if (after > 0) await this.#simulation.delay(`${attempt.destination} thinks`, after, after);
    stop.throwIfAborted();
    const reply = typeof behaviour.reply === 'function' ? behaviour.reply(attempt) : behaviour.reply;
    attempt.status = reply.status;
    attempt.ended = performance.now();
    this.#note(attempt, `has ${attempt.bytes} bytes, ${reply.status}`);
    if (attempt.whole && reply.status >= 200 && reply.status < 300) this.deliveries.push(attempt);
    await this.#way(attempt, 'from');
    if (lost === 'reset') throw new Error('the connection was reset');
    if (lost === 'flag') return this.#envoys(attempt, 'UC', stop);
    return this.#answer(attempt, reply, bodyBreaks, stop);
  }

  /** Reads the body, up to `limit` bytes. */
  async #take(
    attempt: Attempt,
    { pieces, bytes, trailers }: OutgoingBody,
    limit: number,
    stop: AbortSignal,
  ): Promise<void> {
    if (bytes !== 0 && limit <= 0) return;
    const hash = createHash('sha256');
    const kept: Buffer[] = [];
    const iterator = pieces[Symbol.asyncIterator]();
    let ended = bytes === 0;
    try {
      while (!ended) {
        const { value, done } = await until(stop, iterator.next());
        stop.throwIfAborted();
        if (done) {
          ended = true;
          break;
        }
        // The caller may use its memory again.
        const piece = Buffer.from(value);
        await this.#simulation.delay(`piece to ${attempt.destination}`, ...this.#piece);
        stop.throwIfAborted();
        const taken = piece.subarray(0, limit - attempt.bytes);
        attempt.bytes += taken.length;
        hash.update(taken);
        if (this.#keepBodies) kept.push(taken);
        if (bytes !== undefined && attempt.bytes > bytes) throw new Error('the body is longer than was said');
        if (attempt.bytes >= limit) return;
      }
    } finally {
      if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
    }
    if (bytes !== undefined && attempt.bytes !== bytes) throw new Error('the body is shorter than was said');
    attempt.whole = true;
    attempt.sha256 = hash.digest('hex');
    if (this.#keepBodies) attempt.body = Buffer.concat(kept);
    attempt.trailers = [...(trailers?.() ?? [])];
  }

  /** Envoy's own answer, in the place of a destination that was not reached, or was lost. */
  async #envoys(attempt: Attempt, flag: string, stop: AbortSignal): Promise<Answer> {
    const headers = [NO_LINK_HEADER, flag];
    const answer = this.#answer(attempt, { status: 503, headers, body: 'no link' }, false, stop);
    return { ...answer, noLink: flag };
  }

  #answer({ destination }: Attempt, reply: Reply, breaks: boolean, stop: AbortSignal): Answer {
    stop.throwIfAborted();
    const whole = Buffer.from(reply.body ?? '');
    const simulation = this.#simulation;
    const time = this.#piece;
    const pieces = async function* (): AsyncGenerator<Buffer> {
      const half = whole.length >> 1;
      for (const piece of [whole.subarray(0, half), whole.subarray(half)]) {
        if (piece.length === 0) continue;
        await simulation.delay(`piece from ${destination}`, ...time);
        yield piece;
        if (breaks) throw new Error('the answer broke off');
      }
      if (breaks) throw new Error('the answer broke off');
    };
    const body = addAbortSignal(stop, Readable.from(pieces(), { objectMode: false }));
    body.on('error', () => {}); // as those of undici and node:http: without a listener it is no uncaught exception
    return { status: reply.status, headers: [...(reply.headers ?? [])], body };
  }
}

const limitOf = (behaviour: Behaviour): number => {
  if (behaviour.kind === 'answer') return behaviour.early ?? Number.POSITIVE_INFINITY;
  if (behaviour.kind === 'down') return 0;
  return behaviour.afterBytes ?? Number.POSITIVE_INFINITY;
};

/** Rejects with the reason of the signal as soon as that is aborted. */
const until = <T>(signal: AbortSignal, promise: Promise<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });

class SimulatedEgress extends Egress {
  readonly #network: SimulatedNetwork;

  constructor(network: SimulatedNetwork) {
    super({ unix: '/nowhere' });
    this.#network = network;
  }

  override linkBack(destination: string): void {
    const { linksBack } = this.#network;
    linksBack.set(destination, (linksBack.get(destination) ?? 0) + 1);
  }

  override async send(
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    options: SendOptions,
  ): Promise<Answer> {
    const { answerTimeout } = destination;
    if (answerTimeout === undefined) return this.#network.send(destination, head, body, options);
    const deadline = new Deadline(answerTimeout, options.signal);
    if (body.bytes === 0) deadline.begin();
    const { signal } = deadline;
    try {
      const pieces = deadline.after(body.pieces);
      const answer = await this.#network.send(destination, head, { ...body, pieces }, { ...options, signal });
      deadline.until(answer.body);
      return answer;
    } catch (error) {
      deadline.over();
      throw deadline.reason ?? error;
    }
  }
}
