// A response that is given before the request has come whole: a refusal, for the most part. Many clients write all of their body before they read
// anything. If the connection ended with bytes of theirs unread, the kernel would reset it, and they would see the reset and not the response
// (RFC 9112 section 9.6). So the rest of the body is read and thrown away, for a bounded while:
//
//   first     nothing is sent: of a body that comes at the speed of the machine the end is soon there, and the exchange is like any other
//   then      the response is sent, but for its end, while the body goes on: who reads meanwhile sees it
//   at last   its end is sent: the body is whole, or its client has stopped, or there is too much of it
//
// The end is what is held back, and not the close, because of the sidecar: Envoy reads nothing more of a request whose response has ended, and
// resets the connection of the app a second later.

import {
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  ServerResponse,
} from 'node:http';
import { timerMs } from '../platform/timer.ts';

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[];

/** How far a body is read. */
export interface Bounds {
  longestMs: number;
  mostBytes: number;
  /** A client that has sent nothing for so long has stopped, and waits for the response. */
  silenceMs: number;
}

const FIRST: Bounds = { longestMs: 1_000, mostBytes: 256 * 1024 * 1024, silenceMs: 250 };
/** A body that goes on after that meets a closed connection. */
const THEN: Bounds = { longestMs: 30_000, mostBytes: 1024 * 1024 * 1024, silenceMs: 2_000 };
/** How often it is looked at these, as a part of the silence. */
const LOOKS = 8;

/** Of responses to these there is no body, so no end to be held back. */
const BODILESS: ReadonlySet<number> = new Set([204, 304]);

const isLength = (name: unknown): boolean => String(name).toLowerCase() === 'content-length';

/** In chunks instead: with its length a response ends with its last byte, and an empty one with its head. */
const withoutLength = (headers: Headers | undefined): Headers | undefined => {
  if (Array.isArray(headers)) return headers.filter((_, at) => !isLength(headers[at - (at % 2)]));
  return headers && Object.fromEntries(Object.entries(headers).filter(([name]) => !isLength(name)));
};

export class LingeringResponse<
  Request extends IncomingMessage = IncomingMessage,
> extends ServerResponse<Request> {
  /** `held`: head and body wait. `open`: all but the end is sent. */
  #early: 'no' | 'held' | 'open' = 'no';
  #waiting: (() => void)[] = [];
  #ended: (() => void) | undefined;
  #saysContinue = false;

  override writeContinue(callback?: () => void): void {
    this.#saysContinue = true;
    super.writeContinue(callback);
  }

  override writeHead(status: number, message?: string | Headers, headers?: Headers): this {
    const { req } = this;
    if (isWhole(req)) return this.#writeHead(status, message, headers);
    if (req.headers.expect !== undefined && !this.#saysContinue) {
      // It asked first, and is answered: the body is not sent, or it is what follows on a connection that nobody reads.
      this.shouldKeepAlive = false;
      return this.#writeHead(status, message, headers);
    }
    if (req.method === 'HEAD' || BODILESS.has(status)) return this.#writeHead(status, message, headers);
    this.#early = 'held';
    readOn(req, this, () => this.#open(), FIRST);
    return typeof message === 'string'
      ? this.#writeHead(status, message, withoutLength(headers))
      : this.#writeHead(status, withoutLength(message));
  }

  /** Node sends a head with what comes after it. */
  #writeHead(status: number, message?: string | Headers, headers?: Headers): this {
    return typeof message === 'string'
      ? super.writeHead(status, message, headers)
      : super.writeHead(status, message);
  }

  override write(chunk: unknown, encoding?: unknown, callback?: (error?: Error | null) => void): boolean {
    if (!this.headersSent && !isWhole(this.req)) this.writeHead(this.statusCode);
    if (this.#early !== 'held') return super.write(chunk, encoding as BufferEncoding, callback);
    this.#waiting.push(() => super.write(chunk, encoding as BufferEncoding, callback));
    return false;
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: () => void): this {
    if (!this.headersSent && !isWhole(this.req)) this.writeHead(this.statusCode);
    if (this.#early === 'no') return super.end(chunk, encoding as BufferEncoding, callback);
    if (this.#ended) return this;
    const given = [chunk, encoding, callback];
    const done = given.find((value) => typeof value === 'function') as (() => void) | undefined;
    if (chunk !== undefined && chunk !== null && chunk !== done)
      this.write(chunk, encoding === done ? 'utf8' : encoding);
    this.#ended = () => super.end(done);
    if (this.#early === 'open') this.#linger();
    return this;
  }

  #open(): void {
    this.#early = 'open';
    this.flushHeaders();
    for (const write of this.#waiting) write();
    this.#waiting = [];
    if (this.#ended) this.#linger();
    else this.emit('drain');
  }

  #linger(): void {
    const { req } = this;
    readOn(req, this, (isWhole) => {
      // Whatever it still sends would be taken for the next request.
      if (!isWhole) this.once('finish', () => req.socket.destroySoon());
      this.#ended?.();
    });
  }
}

const isWhole = ({ complete, headers }: IncomingMessage): boolean =>
  complete || (headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0);

/** Calls `ended` when the request has come whole, or when a bound is met; not at all if the client hangs up. Whoever reads the request may go
 *  on with it, as long as nothing holds it back. */
export function readOn(
  request: IncomingMessage,
  response: ServerResponse,
  ended: (isWhole: boolean) => void,
  { longestMs, mostBytes, silenceMs }: Bounds = THEN,
): void {
  if (request.readableEnded) {
    ended(true);
    return;
  }
  const { socket } = request;
  const started = performance.now();
  const before = socket.bytesRead;
  let moved = started;
  let seen = before;
  const stop = (): void => {
    clearInterval(timer);
    request.off('end', whole);
    response.off('close', stop);
  };
  const whole = (): void => {
    stop();
    ended(true);
  };
  const timer = setInterval(
    () => {
      const now = performance.now();
      if (socket.bytesRead > seen) moved = now;
      seen = socket.bytesRead;
      if (now - moved < silenceMs && now - started < longestMs && seen - before < mostBytes) return;
      stop();
      ended(request.complete);
    },
    timerMs(timerMs(silenceMs / LOOKS)),
  ).unref();
  request.once('end', whole);
  response.once('close', stop);
  request.resume();
}
