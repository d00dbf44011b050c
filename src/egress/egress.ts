// The way out: requests to the egress listener of the sidecar, which knows the destinations, signs and connects. Nothing
// here leaves the machine by itself, so bytes go only where the policy says (law 4).

import { Readable } from 'node:stream';
import type { Pool } from 'undici';
import { timerMs } from '../platform/timer.ts';
import type { Destination, HeaderEdit } from '../policy/policy.ts';
import { longestBody, signsBody, TOO_LONG_TO_SIGN, tooLongToSign } from '../policy/signature.ts';
import { upstreamName, upstreamPath, urlPort } from '../policy/upstream.ts';
import type { EntryHead } from '../store/store.ts';
import type { Address } from '../wire/address.ts';
import { headerOf } from '../wire/headers.ts';
import { poolTo } from '../wire/http.ts';
import {
  CONNECTIONS_HEADER,
  DESTINATION_HEADER,
  IMPATIENT,
  NO_LINK_HEADER,
  NOT_IDEMPOTENT,
  PATIENCE_HEADER,
} from '../wire/names.ts';
import { type ChunkedRequest, chunkedAgent, sendChunked } from './chunked.ts';
import { Deadline } from './deadline.ts';
import { Departures } from './departures.ts';
import { Expectations } from './expectations.ts';
import { HeldBodies } from './held-bodies.ts';
import { noLinkReason } from './no-link.ts';
import { isReset } from './reconnect.ts';

/** A connection that was idle for no longer is still open, ms: servers keep one for 5 s and more. */
const FRESH_MS = 3_000;

/** An empty body of these goes without a length, as clients send them. */
const BODILESS: ReadonlySet<string> = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** A destination that is silent for so long counts as lost, ms. A lost link or a dead server is seen much earlier, by Envoy and the kernel at
 *  the socket that leaves the machine (control-plane/resources/bounds.ts): silence alone is a slow server, or a link that is narrow. */
export const ANSWER_PATIENCE_MS = 3_600_000;

export interface Answer {
  status: number;
  /** Names and values in turn, as received. */
  headers: string[];
  body: Readable;
  /** The reason, where the answer is Envoy's own: the destination was not reached, or was lost. */
  noLink?: string;
  /** With `noLink`: the destination has closed the connection, and not begun to answer (reconnect.ts). */
  isReset?: boolean;
}

export interface SendOptions {
  signal: AbortSignal;
  /** An app waits for the answer: give up in seconds, the store is behind. */
  impatient?: boolean;
  /** Only requests with the same value share a connection. */
  connection?: string;
  /** A body over 64 KiB leaves only after `100 Continue`, or where the server is known to ignore the question. */
  expect?: boolean;
  /** It cannot be sent again: it goes over a connection that was used a moment ago, or a new one, since the server may have closed an older one. */
  once?: boolean;
  /** Called with each informational answer but 100; names and values in turn. Of requests of known length, where the policy asks for it. */
  onInterim?: (status: number, headers: string[]) => void;
  /** Called about once a second while bytes that Envoy took may still be on their way to the destination. */
  onProgress?: () => void;
}

/** What can send. */
export type RequestSender = Pick<Egress, 'send'>;

export interface OutgoingBody {
  pieces: AsyncIterable<Buffer>;
  /** Length, bytes; undefined where it is not known yet. */
  bytes?: number;
  /** Asked for after the last piece; names and values in turn. S3 knows no trailers: a signed destination gets none. */
  trailers?: () => readonly string[];
}

type Outgoing = Required<Omit<OutgoingBody, 'bytes'>> & { bytes: number | undefined };

/** Path and query as the upstream is to see them; where they are signed, the listener spells them. */
const outgoingPath = (destination: Destination, url: string): string =>
  upstreamPath(destination) + url.slice(url.indexOf('/', url.indexOf('//') + 2));

/** As the policy has them now. */
function edited(headers: readonly string[], { set, remove }: HeaderEdit): string[] {
  const gone = new Set([...remove, ...set.map(([name]) => name)]);
  return [...headers.filter((_, at) => !gone.has(headers[at - (at % 2)]!.toLowerCase())), ...set.flat()];
}

function outgoingHeaders(destination: Destination, head: EntryHead, bytes: number | undefined): string[] {
  const { headers: edits } = destination;
  const kept = edits ? edited(head.headers, edits.request) : head.headers;
  const headers = [...kept, DESTINATION_HEADER, upstreamName(destination)];
  if (NOT_IDEMPOTENT.includes(head.method) && headerOf(headers, 'idempotency-key') === undefined) {
    headers.push('idempotency-key', head.id);
  }
  if (bytes !== undefined && !(bytes === 0 && BODILESS.has(head.method))) {
    headers.push('content-length', String(bytes));
  }
  return headers;
}

export class Egress {
  #address: Address;
  #pool: Pool;
  #chunked = chunkedAgent();
  readonly #expectations = new Expectations();
  readonly #departures = new Departures();
  readonly #held = new HeldBodies();
  /** Of the sidecar's pools: how often connections were too old for a request that can be sent only once, and when one was used, ms of
   *  performance.now(). */
  readonly #pools = new Map<string, { renewed: number; usedAt: number }>();
  /** How often the link to a destination came back. */
  readonly #links = new Map<string, number>();

  constructor(address: Address) {
    this.#address = address;
    this.#pool = poolTo(address, {
      connections: null,
      headersTimeout: ANSWER_PATIENCE_MS,
      bodyTimeout: ANSWER_PATIENCE_MS,
    });
  }

  /** From now on requests to the destination go over connections that are made from now on: older ones may be dead without knowing it,
   *  since the machine has another address now. */
  linkBack(destination: string): void {
    this.#links.set(destination, (this.#links.get(destination) ?? 0) + 1);
  }

  /** Resolves with the answer once its headers are there. Rejects where the way broke. */
  async send(
    destination: Destination,
    head: EntryHead,
    { pieces, bytes, trailers = () => [] }: OutgoingBody,
    { signal, impatient = false, expect = false, onInterim, onProgress, ...way }: SendOptions,
  ): Promise<Answer> {
    const { answerTimeout } = destination;
    const began = performance.now();
    const pool = this.#poolOf(destination, impatient);
    // All that comes from now on shares the new ones.
    if (way.once && began - pool.usedAt > FRESH_MS) pool.renewed += 1;
    const connection = way.connection ?? (pool.renewed > 0 ? `-${pool.renewed}` : '');
    const deadline = answerTimeout === undefined ? undefined : new Deadline(answerTimeout, signal);
    if (bytes === 0) deadline?.begin();
    const departure = this.#departures.track(portOf(destination), () => {
      deadline?.extend();
      onProgress?.();
    });
    const leaving = departure.through(pieces);
    const body = deadline ? deadline.after(leaving) : leaving;
    let release: (() => void) | undefined;
    try {
      if (bytes && signsBody(destination)) {
        if (bytes > longestBody(destination)!) return tooLong(destination);
        release = await this.#held.take(upstreamName(destination), bytes, deadline?.signal ?? signal);
      }
      const answer = await this.#send(
        destination,
        head,
        { pieces: body, bytes, trailers },
        {
          signal: deadline?.signal ?? signal,
          impatient,
          expect,
          connection,
          ...(onInterim && { onInterim }),
        },
      );
      deadline?.until(answer.body);
      const { noLink } = answer;
      if (noLink === undefined && way.connection === undefined)
        answer.body.once('close', () => {
          pool.usedAt = performance.now();
        });
      return noLink === undefined
        ? answer
        : {
            ...answer,
            noLink: noLinkReason(noLink, destination.upstream, impatient),
            isReset: isReset(noLink, performance.now() - began),
          };
    } catch (error) {
      deadline?.over();
      throw deadline?.reason ?? error;
    } finally {
      departure.end();
      release?.();
    }
  }

  #poolOf(destination: Destination, impatient: boolean): { renewed: number; usedAt: number } {
    const name = `${upstreamName(destination)} ${impatient}`;
    const pool = this.#pools.get(name) ?? { renewed: 0, usedAt: Number.NEGATIVE_INFINITY };
    this.#pools.set(name, pool);
    return pool;
  }

  async #send(
    destination: Destination,
    head: EntryHead,
    { pieces, bytes, trailers }: Outgoing,
    { signal, impatient, expect, connection, onInterim }: SendOptions,
  ): Promise<Answer> {
    const upstream = upstreamName(destination);
    const isLarge = bytes === undefined || bytes > this.#expectations.smallest;
    // Of a body that is signed nothing leaves, the question neither, before the sidecar has all of it.
    const asks = expect && isLarge && !signsBody(destination) && this.#expectations.asks(upstream);
    const chunked = bytes === undefined || (!destination.upstream.sign && trailers().length > 0);
    const method = head.method as 'PUT';
    const path = outgoingPath(destination, head.url);
    const headers = outgoingHeaders(destination, head, chunked ? undefined : bytes);
    const connections = `${this.#links.get(destination.name) ?? ''}${connection}`;
    if (connections !== '') headers.push(CONNECTIONS_HEADER, connections);
    if (impatient) headers.push(PATIENCE_HEADER, IMPATIENT);
    const patience = timerMs(Math.max(ANSWER_PATIENCE_MS, destination.answerTimeout ?? 0));
    if (chunked || asks || this.#expectations.saysContinue(upstream)) {
      const outgoing = { method, path, headers, pieces, trailers, signal, patience, onInterim };
      const send = (more: Partial<ChunkedRequest>) =>
        sendChunked(this.#chunked, this.#address, { ...outgoing, hasLength: !chunked, ...more });
      const answer = await (asks ? this.#expectations.ask(upstream, send) : send({}));
      return answerOf(answer.statusCode ?? 0, answer.rawHeaders, answer);
    }
    const answer = await this.#expectations.heed(upstream, () =>
      this.#pool.request({
        method,
        path,
        headers,
        body: bytes === 0 ? null : Readable.from(pieces, { objectMode: true }),
        signal,
        headersTimeout: patience,
        bodyTimeout: patience,
        responseHeaders: 'raw',
        ...(onInterim && {
          onInfo: ({ statusCode, headers: said }) => onInterim(statusCode, said as unknown as string[]),
        }),
      }),
    );
    return answerOf(answer.statusCode, answer.headers as unknown as string[], answer.body);
  }

  async close(): Promise<void> {
    this.#departures.close();
    this.#chunked.destroy();
    await this.#pool.destroy();
  }
}

/** Of the upstream as the sidecar connects to it; undefined: pods behind a Service of Kubernetes have ports of their own. */
const portOf = ({ upstream }: Destination): number | undefined =>
  upstream.service ? undefined : urlPort(new URL(upstream.url));

/** The sidecar would say the same, and not why. */
function tooLong(destination: Destination): Answer {
  const { status, title } = TOO_LONG_TO_SIGN;
  const text = JSON.stringify({ title, status, detail: tooLongToSign(destination) });
  return {
    status,
    headers: ['content-type', 'application/problem+json', 'content-length', String(Buffer.byteLength(text))],
    body: Readable.from([Buffer.from(text)], { objectMode: true }),
  };
}

function answerOf(status: number, headers: string[], body: Readable): Answer {
  const noLink = headerOf(headers, NO_LINK_HEADER);
  return { status, headers, body, ...(noLink === undefined ? {} : { noLink }) };
}
