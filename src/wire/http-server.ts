// What every listener of Layby's own does with a request from outside: the target, a bounded body, JSON in and out, and an answer to whatever
// is thrown. Nothing that a request says may end the process, so no listener parses a request by other means.

import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type ErrorView, LaybyError, viewOf } from '../telemetry/error.ts';

/** What a request asks for (RFC 9112 section 3.2). */
export interface RequestTarget {
  /** Not decoded: compared byte for byte. */
  path: string;
  /** With its `?`, or empty. */
  search: string;
  query: URLSearchParams;
  /** Of an absolute form, where it replaces the Host header. */
  authority: string | undefined;
}

const invalid = (message: string, remedy: string): LaybyError =>
  new LaybyError('LAYBY_REQUEST_INVALID', message, { remedy });

/** Errors: LAYBY_REQUEST_INVALID. `new URL` is no parser of request targets: it throws for `//`, and takes `//host/path` for another host. */
export function targetOf({ url = '' }: IncomingMessage): RequestTarget {
  const [, authority, rest = ''] = /^(?:https?:\/\/([^/?#]*))?([\s\S]*)$/i.exec(url) ?? [];
  const origin = authority !== undefined && !rest.startsWith('/') ? `/${rest}` : rest;
  if (!/^\/[!-~]*$/.test(origin))
    throw invalid('the path of the request is invalid', 'begin it with "/", and write it in visible ASCII');
  const end = origin.indexOf('?');
  const path = end < 0 ? origin : origin.slice(0, end);
  const search = end < 0 ? '' : origin.slice(end);
  return { path, search, query: new URLSearchParams(search), authority };
}

/** The whole body. Errors: LAYBY_REQUEST_TOO_LARGE above `limit` bytes; what is left of it is for `sendError`. */
export async function readBytes(request: IncomingMessage, limit: number): Promise<Buffer> {
  const tooLarge = () =>
    new LaybyError('LAYBY_REQUEST_TOO_LARGE', `the body has more than ${limit} bytes`, {
      remedy: 'send less at once',
    });
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge();
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > limit) throw tooLarge();
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** The body as JSON, of whatever shape. Errors: LAYBY_REQUEST_TOO_LARGE, LAYBY_REQUEST_INVALID. */
export async function readJson(request: IncomingMessage, limit: number): Promise<unknown> {
  const bytes = await readBytes(request, limit);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw invalid('the body is not JSON', 'send a JSON object in UTF-8');
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Statuses of errors that are not 400. */
const STATUS: Readonly<Record<string, number>> = {
  LAYBY_ADMIN_REFUSED: 401,
  LAYBY_ADMIN_SITE_REFUSED: 403,
  LAYBY_NOT_FOUND: 404,
  LAYBY_REQUEST_TOO_LARGE: 413,
  LAYBY_ADMIN_TYPE_REFUSED: 415,
  LAYBY_ADMIN_HOST_REFUSED: 421,
  LAYBY_INTERNAL: 500,
  LAYBY_LINK_NOT_KEPT: 500,
  LAYBY_STORE_CLOSED: 500,
  LAYBY_STORE_FAILED: 500,
  LAYBY_STORE_FULL: 500,
  LAYBY_QUEUE_AWAY: 503,
};

/** Answers with what was thrown; where an answer has begun it breaks off, so that nobody takes it for whole. */
export function sendError(request: IncomingMessage, response: ServerResponse, thrown: unknown): ErrorView {
  const view = viewOf(thrown);
  if (response.headersSent) {
    response.destroy();
    return view;
  }
  const text = `${JSON.stringify(view)}\n`;
  response.writeHead(STATUS[view.code] ?? 400, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.write(text);
  // A client that still sends would be reset, and not see the answer, if the connection ended before its body.
  if (request.complete) response.end();
  else request.once('close', () => response.end()).resume();
  return view;
}

/** A listener that outlives whatever `answer` throws or rejects with; `failed` hears of it once it is answered. */
export const answering =
  (
    answer: (request: IncomingMessage, response: ServerResponse) => void | Promise<void>,
    failed: (thrown: unknown, view: ErrorView) => void,
  ): RequestListener =>
  (request, response) => {
    // Node throws an error of a stream that nobody listens to.
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    new Promise<void>((resolve) => resolve(answer(request, response))).catch((thrown: unknown) => {
      failed(thrown, sendError(request, response, thrown));
    });
  };
