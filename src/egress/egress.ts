// The way out: requests to the egress listener of the sidecar, which knows the destinations, signs and connects. Nothing
// here leaves the machine by itself, so bytes go only where the policy says (law 4).

import { Readable } from 'node:stream';
import type { Pool } from 'undici';
import type { Destination } from '../policy/policy.ts';
import type { EntryHead } from '../store/store.ts';
import type { Address } from '../wire/address.ts';
import { headerOf } from '../wire/headers.ts';
import { poolTo } from '../wire/http.ts';
import { DESTINATION_HEADER, IMPATIENT, NO_LINK_HEADER, PATIENCE_HEADER } from '../wire/names.ts';
import { canonicalPath } from './path.ts';

/** A destination that took everything and says nothing for so long counts as lost; ms. */
const ANSWER_PATIENCE_MS = 120_000;

/** Methods whose repetition a destination can only recognise by a key. */
const NOT_IDEMPOTENT = new Set(['POST', 'PATCH']);

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
}

export interface OutgoingBody {
  /** Known length, bytes; undefined sends chunked. */
  bytes?: number;
  pieces: AsyncIterable<Buffer> | null;
}

/** Path and query as the upstream is to see them. */
export function outgoingPath(destination: Destination, url: string): string {
  const path = url.slice(url.indexOf('/', url.indexOf('//') + 2));
  const prefix = new URL(destination.upstream.url).pathname.replace(/\/+$/, '');
  return prefix + (destination.upstream.sign ? canonicalPath(path) : path);
}

function outgoingHeaders(destination: Destination, head: EntryHead, bytes: number | undefined): string[] {
  const headers = [...head.headers, DESTINATION_HEADER, destination.name];
  if (NOT_IDEMPOTENT.has(head.method) && headerOf(headers, 'idempotency-key') === undefined) {
    headers.push('idempotency-key', head.id);
  }
  if (bytes !== undefined && !(bytes === 0 && head.method === 'DELETE')) {
    headers.push('content-length', String(bytes));
  }
  return headers;
}

export class Egress {
  #pool: Pool;

  constructor(address: Address) {
    this.#pool = poolTo(address, {
      connections: null,
      headersTimeout: ANSWER_PATIENCE_MS,
      bodyTimeout: ANSWER_PATIENCE_MS,
    });
  }

  /** Resolves with the answer once its headers are there. Rejects where the way broke. */
  async send(
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    { signal, impatient = false }: SendOptions,
  ): Promise<Answer> {
    const headers = outgoingHeaders(destination, head, body.bytes);
    if (impatient) headers.push(PATIENCE_HEADER, IMPATIENT);
    const answer = await this.#pool.request({
      method: head.method as 'PUT',
      path: outgoingPath(destination, head.url),
      headers,
      body: body.pieces && body.bytes !== 0 ? Readable.from(body.pieces, { objectMode: true }) : null,
      signal,
      responseHeaders: 'raw',
    });
    const received = answer.headers as unknown as string[];
    const noLink = headerOf(received, NO_LINK_HEADER);
    return {
      status: answer.statusCode,
      headers: received,
      body: answer.body,
      ...(noLink === undefined ? {} : { noLink }),
    };
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}
