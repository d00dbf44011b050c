// One request on its way out while its client is still there.

import { once } from 'node:events';
import type { Answer, OutgoingBody, RequestSender } from '../egress/egress.ts';
import { isInvalidAnswer } from '../egress/no-link.ts';
import { onNewConnection, reconnecting } from '../egress/reconnect.ts';
import { RepeatableBody } from '../egress/repeatable-body.ts';
import { towards } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { EntryHead } from '../store/store.ts';

/** The destination's answer, or why there is none. */
export type UpstreamResult = Answer | Broken;

/** `isInvalid`: the destination was reached, and what it answered is not HTTP. */
export interface Broken {
  broken: string;
  isInvalid?: boolean;
}

/** A final answer that is no success: where it comes before the end of the body, nobody wants the rest of it. */
export const isRefusal = (result: UpstreamResult | undefined): result is Answer =>
  result !== undefined && !('broken' in result) && (result.status < 200 || result.status > 299);

/** Of the rest of the body: the destination refused it, or is not reached. */
export const isUnwanted = (result: UpstreamResult): result is UpstreamResult =>
  'broken' in result || isRefusal(result);

/** Resolves with the result where it comes before all of the body is read, and `decides` says that the rest is not wanted; with undefined
 *  when `reading` has resolved. Rejects as `reading` does before that. Afterwards `reading` goes on, and how it ends is not told: what is
 *  read must not be kept, and must not wait for anything. */
export function beforeTheEnd<Result extends UpstreamResult>(
  reading: Promise<void>,
  sent: Promise<UpstreamResult>,
  decides: (result: UpstreamResult) => result is Result,
): Promise<Result | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Result | undefined>();
  void sent.then((result) => decides(result) && resolve(result));
  reading.then(() => resolve(undefined), reject);
  return promise;
}

/** Of a body, so that it can be sent again where the connection was closed; bytes. It is memory, for each request. */
const KEPT = 64 * 1024;

export interface UpstreamRequestOptions {
  /** Not before the head is whole. */
  ready?: Promise<void> | undefined;
  /** Connections that are there already may be closed by the server. */
  newConnection?: boolean;
}

export class UpstreamRequest {
  readonly #abort = new AbortController();
  /** Never rejects. */
  readonly sent: Promise<UpstreamResult>;
  /** The same, as far as it is known now. */
  now: UpstreamResult | undefined;

  constructor(
    egress: RequestSender,
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    { ready, newConnection = false }: UpstreamRequestOptions = {},
  ) {
    const { signal } = this.#abort;
    const upstream = towards(destination, head.id);
    const wanted = { [Symbol.asyncIterator]: () => this.#whileWanted(body.pieces) };
    const repeatable = new RepeatableBody(wanted, KEPT);
    const options = { signal, impatient: true, once: body.bytes === undefined || body.bytes > KEPT };
    const send = (through: RequestSender) =>
      through.send(upstream, head, { ...body, pieces: repeatable.pieces() }, options);
    const start = () =>
      newConnection
        ? send(onNewConnection(egress))
        : reconnecting(egress, signal, send, () => repeatable.isWhole);
    this.sent = (ready ? ready.then(start) : start()).then(
      (answer): UpstreamResult => {
        if (answer.noLink === undefined) return answer;
        answer.body.resume().on('error', () => {});
        return { broken: `no link (${answer.noLink})`, isInvalid: isInvalidAnswer(answer.noLink) };
      },
      (error: Error) => ({ broken: error.message }),
    );
    void this.sent.then((sent) => {
      this.now = sent;
    });
  }

  /** After a refusal the body neither goes on nor ends nor fails: each of these would cut the answer off that is still coming. */
  async *#whileWanted(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    try {
      let isCut = false;
      for await (const piece of pieces) {
        isCut = isRefusal(this.now);
        if (isCut) break;
        yield piece;
      }
      if (!isCut) return;
    } catch (error) {
      if (!isRefusal(this.now)) throw error;
    }
    const { signal } = this.#abort;
    if (!signal.aborted) await once(signal, 'abort');
    throw new Error('the destination refused it before its end');
  }

  /** Cuts the connection to the egress listener: what was sent does not look whole to anybody, and a response that has begun is
   *  destroyed. */
  abort(): void {
    this.#abort.abort();
  }
}
