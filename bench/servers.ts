// What Layby's queue is measured beside. `no-store` is a server of the same shape as the queue's that keeps nothing: the same
// node:http, the same reading of the body, the same receipt. `sink` is the least work a server can do, to find what the load can send.

import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { v7 as uuidv7 } from 'uuid';
import { readBody } from '../src/queue/body.ts';
import { redirect } from '../src/queue/receipts/redirect.ts';
import type { Entry } from '../src/store/store.ts';
import type { Address } from '../src/wire/address.ts';
import { listen } from '../src/wire/http.ts';
import { answerQuestions } from './worker.ts';

export interface Serve {
  kind: 'no-store' | 'sink';
  at: Address;
}

const noStore = () =>
  createHttpServer({ requestTimeout: 0, keepAliveTimeout: 75_000, noDelay: true }, (request, response) => {
    readBody(request, () => undefined).then(
      () => redirect(response, { id: uuidv7() } as Entry),
      () => response.destroy(),
    );
  });

const ANSWER = Buffer.from('HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n');

/** All requests of one connection have one length: the head is read once. */
function sink(socket: Socket): void {
  let length = 0;
  let got = 0;
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    if (length === 0) {
      const head = bytes.toString('latin1', 0, 1024);
      length = head.indexOf('\r\n\r\n') + 4 + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    }
    got += bytes.length;
    for (; got >= length; got -= length) socket.write(ANSWER);
  });
}

answerQuestions<Serve, void>(async ({ kind, at }) => {
  const server = kind === 'sink' ? createServer(sink) : noStore();
  // Only node:net's part of the server is used to listen.
  await listen(server as ReturnType<typeof noStore>, at);
});
