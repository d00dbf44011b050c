// What Layby's queue is measured beside. `no-store` is a server of the same shape as the queue's that keeps nothing: the same
// node:http, the same reading of the body, the same receipt. `sink` is the least work a server can do, to find what the load can send.

import { createServer as createHttpServer, STATUS_CODES } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { v7 as uuidv7 } from 'uuid';
import { clientSignal } from '../src/queue/client-signal.ts';
import { readBody } from '../src/queue/read-body.ts';
import { redirect } from '../src/queue/receipts/redirect.ts';
import type { Entry } from '../src/store/store.ts';
import type { Address } from '../src/wire/address.ts';
import { listen } from '../src/wire/http.ts';
import { answerQuestions } from './worker.ts';

export type Serve =
  | { kind: 'no-store'; at: Address }
  /** `status`: of every answer; default 307. */
  | { kind: 'sink'; at: Address; status?: number };

const noStore = () =>
  createHttpServer({ requestTimeout: 0, keepAliveTimeout: 75_000, noDelay: true }, (request, response) => {
    const signal = clientSignal(request, response);
    readBody({ request, response, signal }, () => undefined).then(
      () => redirect(response, { id: uuidv7() } as Entry),
      () => response.destroy(),
    );
  });

const HEAD_END = Buffer.from('\r\n\r\n');

/** Reads requests with a Content-Length, of any length in turn, and answers each when its last byte is there. */
function sink(socket: Socket, answer: Buffer): void {
  let head = Buffer.alloc(0);
  let left = 0;
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; ) {
      if (left > 0) {
        const taken = Math.min(left, bytes.length - at);
        left -= taken;
        at += taken;
        if (left === 0) socket.write(answer);
        continue;
      }
      const had = head.length;
      head = Buffer.concat([head, bytes.subarray(at)]);
      const end = head.indexOf(HEAD_END);
      if (end < 0) return;
      left = Number(/\r\ncontent-length: *(\d+)/i.exec(head.toString('latin1', 0, end))?.[1] ?? 0);
      at += end + HEAD_END.length - had;
      head = Buffer.alloc(0);
      if (left === 0) socket.write(answer);
    }
  });
}

answerQuestions<Serve, Address>(async (serve) => {
  if (serve.kind === 'no-store') return listen(noStore(), serve.at);
  const { status = 307 } = serve;
  const answer = Buffer.from(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Length: 0\r\n\r\n`);
  const server = createServer((socket) => sink(socket, answer));
  return listen(server, serve.at);
});
