// The way out: requests to the egress listener of the sidecar, which knows the destinations, signs and connects. Nothing
// here leaves the machine by itself, so bytes go only where the policy says (law 4).

import { Readable } from 'node:stream';
import type { Pool } from 'undici';
import type { Destination, HeaderEdit } from '../policy/policy.ts';
import { upstreamName, upstreamPath } from '../policy/upstream.ts';
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
import { Expectations } from './expectations.ts';
import { canonicalPath, objectPath } from './path.ts';

/** An empty body of these goes without a length, as clients send them. */
const BODILESS: ReadonlySet<string> = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** A destination that took everything and says nothing for so long counts as lost; ms. */
const ANSWER_PATIENCE_MS = 120_000;

export interface Answer {
  status: number;
  /** Names and values in turn, as received. */
  headers: string[];
  body: Readable;
  /** Envoy's response flags, where the answer is Envoy's own: the destination was not reached, or was lost. */
  noLink?: string;
}

export interface SendOptions {
  signal: AbortSignal;
  /** An app waits for the answer: give up in seconds, the store is behind. */
  impatient?: boolean;
  /** A body over 64 KiB leaves only after `100 Continue`, or where the server is known to ignore the question. */
  expect?: boolean;
  /** Called with each informational answer but 100; names and values in turn. Of requests of known length, where the policy asks for it. */
  onInterim?: (status: number, headers: string[]) => void;
}

export interface OutgoingBody {
  pieces: AsyncIterable<Buffer>;
  /** Length, bytes; undefined where it is not known yet. */
  bytes?: number;
  /** Asked for after the last piece; names and values in turn. S3 knows no trailers: a signed destination gets none. */
  trailers?: () => readonly string[];
}

type Outgoing = Required<Omit<OutgoingBody, 'bytes'>> & { bytes: number | undefined };

/** Path and query as the upstream is to see them. */
export function outgoingPath(destination: Destination, url: string): string {
  const path = url.slice(url.indexOf('/', url.indexOf('//') + 2));
  const { sign } = destination.upstream;
  const spell = !sign ? (as: string) => as : sign.aws.service === 's3' ? objectPath : canonicalPath;
  return upstreamPath(destination) + spell(path);
}

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
    { signal, impatient = false, expect = false, onInterim }: SendOptions,
  ): Promise<Answer> {
    const { answerTimeout } = destination;
    const deadline = answerTimeout === undefined ? undefined : new Deadline(answerTimeout, signal);
    if (bytes === 0) deadline?.begin();
    const body = deadline ? deadline.after(pieces) : pieces;
    try {
      const answer = await this.#send(
        destination,
        head,
        { pieces: body, bytes, trailers },
        {
          signal: deadline?.signal ?? signal,
          impatient,
          expect,
          ...(onInterim && { onInterim }),
        },
      );
      deadline?.until(answer.body);
      return answer;
    } catch (error) {
      deadline?.over();
      throw deadline?.reason ?? error;
    }
  }

  async #send(
    destination: Destination,
    head: EntryHead,
    { pieces, bytes, trailers }: Outgoing,
    { signal, impatient, expect, onInterim }: SendOptions,
  ): Promise<Answer> {
    const upstream = upstreamName(destination);
    const isLarge = bytes === undefined || bytes > this.#expectations.smallest;
    const asks = expect === true && isLarge && this.#expectations.asks(upstream);
    const chunked = bytes === undefined || (!destination.upstream.sign && trailers().length > 0);
    const method = head.method as 'PUT';
    const path = outgoingPath(destination, head.url);
    const headers = outgoingHeaders(destination, head, chunked ? undefined : bytes);
    const links = this.#links.get(destination.name);
    if (links !== undefined) headers.push(CONNECTIONS_HEADER, String(links));
    if (impatient) headers.push(PATIENCE_HEADER, IMPATIENT);
    const patience = Math.max(ANSWER_PATIENCE_MS, destination.answerTimeout ?? 0);
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
    this.#chunked.destroy();
    await this.#pool.destroy();
  }
}

function answerOf(status: number, headers: string[], body: Readable): Answer {
  const noLink = headerOf(headers, NO_LINK_HEADER);
  return { status, headers, body, ...(noLink === undefined ? {} : { noLink }) };
}
