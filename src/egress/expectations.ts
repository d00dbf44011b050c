// What is known of upstreams and `Expect: 100-continue` (RFC 9110 section 10.1.1): who ignores the question, and who says 100 unasked.

import type { IncomingMessage } from 'node:http';
import { NO_LINK_HEADER } from '../wire/names.ts';
import type { ChunkedRequest } from './chunked.ts';

/** Below it a body costs no more than the round trip that the question takes, bytes. */
const SMALLEST = 64 * 1024;
/** A server that has not said 100 by then gets the body, ms: three round trips of a bad link for the connection, and one for the question. */
const WAIT_MS = 10_000;
/** A server that ignores the question is asked again after this, ms: it may have been a portal. */
const IGNORED_FOR_MS = 3_600_000;

export class Expectations {
  /** By upstream: until when it is not asked, ms of performance.now(). */
  readonly #ignoring = new Map<string, number>();
  /** Upstreams that say 100 unasked. */
  readonly #continuing = new Set<string>();

  readonly #waitMs: number;

  constructor(waitMs = WAIT_MS) {
    this.#waitMs = waitMs;
  }

  /** Shorter bodies are sent unasked, bytes. */
  readonly smallest = SMALLEST;

  asks(upstream: string): boolean {
    return (this.#ignoring.get(upstream) ?? 0) <= performance.now();
  }

  saysContinue(upstream: string): boolean {
    return this.#continuing.has(upstream);
  }

  /** Sends with the question. A server that refuses it (417) gets the request again without it. Rejects as `send`, and where the 417 came
   *  after the body had begun to leave. */
  async ask(
    upstream: string,
    send: (more: Pick<ChunkedRequest, 'expect'>) => Promise<IncomingMessage>,
  ): Promise<IncomingMessage> {
    let isContinued = false;
    let isLate = false;
    const onContinue = (): void => {
      isContinued = true;
    };
    const onLate = (): void => {
      isLate = true;
    };
    const answer = await send({ expect: { ms: this.#waitMs, onContinue, onLate } });
    // Envoy's own answer says nothing of the server.
    const isReached = answer.headers[NO_LINK_HEADER] === undefined;
    if (isReached && (answer.statusCode === 417 || (isLate && !isContinued)))
      this.#ignoring.set(upstream, performance.now() + IGNORED_FOR_MS);
    if (answer.statusCode !== 417) return answer;
    answer.resume().on('error', () => {});
    if (isLate || isContinued)
      throw new Error('the server refuses Expect (417), and the body had begun to leave');
    return send({});
  }

  /** undici breaks the connection on a 100 that nobody asked for: the next request to that upstream goes by node:http, which lets it be. */
  async heed<Answered>(upstream: string, send: () => Promise<Answered>): Promise<Answered> {
    try {
      return await send();
    } catch (error) {
      if (error instanceof Error && error.message === 'bad response') this.#continuing.add(upstream);
      throw error;
    }
  }
}
