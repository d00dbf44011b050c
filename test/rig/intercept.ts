// A proxy in front of a real server, on loopback: it writes down what passes, and does to single exchanges what a bad way does: loses
// an answer, breaks a body off, answers by itself, swallows everything. Host and path stay, so signatures stay good.

import { EventEmitter, once } from 'node:events';
import { Agent, createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { writeInterim } from './interim.ts';
import { untilEvent } from './until-event.ts';

export interface Exchange {
  method: string;
  /** Path and query. */
  path: string;
  headers: IncomingMessage['headers'];
  /** Of the request's body, as they came. */
  bytes: number;
  /** The server's; undefined while there is none. */
  status?: number;
  /** The client was told it. */
  told?: boolean;
  /** When it began and when its first body byte came, ms of performance.now(). */
  began: number;
  first?: number;
}

/** `lose-answer`: the server does it, the client never hears. `swallow`: read and never answered. `stop-reading`: not even that. */
export type Meddling =
  | 'pass'
  | 'lose-answer'
  | 'swallow'
  | 'stop-reading'
  | { status: number; headers?: Record<string, string>; body?: string };

export interface Intercept {
  url: string;
  exchanges: readonly Exchange[];
  /** Asked at the beginning of each exchange, which waits for the answer. */
  meddle: (exchange: Exchange) => Meddling | Promise<Meddling>;
  /** Ends every connection, and refuses new ones until `restore`. */
  cut(): void;
  restore(): void;
  /** Resolves when it is true of what has passed; asked at each piece and each answer. */
  until(enough: (exchanges: readonly Exchange[]) => boolean, timeout?: number): Promise<void>;
  close(): Promise<void>;
}

/** `to`: http://HOST:PORT. */
export const startIntercept = async (to: string): Promise<Intercept> => {
  const { hostname, port } = new URL(to);
  const exchanges: Exchange[] = [];
  // A server may close a connection that is idle: each exchange has its own.
  const agent = new Agent({ keepAlive: false });
  const events = new EventEmitter().setMaxListeners(0);
  const sockets = new Set<Socket>();
  let isCut = false;

  const pass = async (
    exchange: Exchange,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    const meddling = await intercept.meddle(exchange);
    if (meddling === 'stop-reading') return;
    const headers = request.rawHeaders;
    const onward =
      meddling === 'pass' || meddling === 'lose-answer'
        ? send({ agent, host: hostname, port, method: exchange.method, path: exchange.path, headers })
        : undefined;
    request.on('data', (piece: Buffer) => {
      exchange.first ??= performance.now();
      exchange.bytes += piece.length;
      if (onward && !onward.write(piece)) {
        request.pause();
        onward.once('drain', () => request.resume());
      }
      events.emit('passed');
    });
    request.on('end', () => {
      onward?.end();
      if (typeof meddling === 'object') {
        const { status, headers: own = {}, body = '' } = meddling;
        Object.assign(exchange, { status, told: true });
        response.writeHead(status, own).end(body);
        events.emit('passed');
      }
    });
    request.on('error', () => onward?.destroy());
    request.on('close', () => {
      if (!request.complete) onward?.destroy();
    });
    onward?.on('error', () => response.destroy());
    onward?.on('information', ({ statusCode, rawHeaders }) => writeInterim(response, statusCode, rawHeaders));
    onward?.on('response', (answer) => {
      exchange.status = answer.statusCode ?? 0;
      if (meddling === 'lose-answer') {
        answer.resume().on('end', () => {
          response.destroy();
          events.emit('passed');
        });
        return;
      }
      response.writeHead(exchange.status, answer.rawHeaders);
      answer.pipe(response);
      response.on('finish', () => {
        exchange.told = true;
        events.emit('passed');
      });
    });
  };

  const server = createServer((request, response) => {
    const { method = '', url: path = '', headers } = request;
    const exchange: Exchange = { method, path, headers, bytes: 0, began: performance.now() };
    exchanges.push(exchange);
    void pass(exchange, request, response);
  });
  server.requestTimeout = 0;
  server.on('connection', (socket) => {
    if (isCut) {
      socket.resetAndDestroy();
      return;
    }
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const intercept: Intercept = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    exchanges,
    meddle: () => 'pass',
    cut() {
      isCut = true;
      // Not by a reset: Node would wait for ever, at its own end, for a write that was under way.
      for (const socket of sockets) socket.destroy();
    },
    restore() {
      isCut = false;
    },
    async until(enough, timeout = 30_000) {
      if (enough(exchanges)) return;
      const tail = () =>
        exchanges
          .slice(-12)
          .map(({ method, path, bytes, status }) => `${method} ${path} ${bytes} → ${status}`)
          .join('\n');
      await untilEvent(events, 'passed', () => enough(exchanges), timeout, tail);
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return intercept;
};
