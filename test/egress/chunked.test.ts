// Requests of unknown length on their way out, over real sockets.

import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { chunkedAgent, sendChunked } from '../../src/egress/chunked.ts';

/** Sends these to a server, with so many ms of patience. */
const send = async (t: Test, listener: RequestListener, pieces: AsyncIterable<Buffer>, patience: number) => {
  const agent = chunkedAgent();
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    agent.destroy();
    server.closeAllConnections();
    server.close();
  });
  const to = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const { signal } = new AbortController();
  const request = { method: 'PUT', path: '/', headers: [], trailers: () => [], pieces, signal, patience };
  return sendChunked(agent, to, request);
};

async function* slowly(pieces: number, ms: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < pieces; at++) {
    await sleep(ms);
    yield Buffer.from('piece');
  }
}

t.test('a body may come as slowly as it likes, an answer may not', async (t) => {
  const answer = await send(
    t,
    (request, response) => void request.resume().on('end', () => response.end()),
    slowly(3, 120),
    60,
  );
  t.equal(answer.statusCode, 200);
  await t.rejects(
    send(t, (request) => void request.resume(), slowly(1, 0), 60),
    { message: /nothing moved/ },
  );
  await t.rejects(
    send(t, (request) => void request.resume(), slowly(2, 120), 60),
    { message: /nothing moved/ },
    'also after a body that came more slowly than that',
  );
  await t.rejects(
    send(t, () => {}, endless(), 60),
    { message: /nothing moved/ },
    'nor may the other side leave the body unread',
  );
});

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(100_000);
}

t.test('a body that breaks off does not look whole, whether it has been answered or not', async (t) => {
  for (const early of [false, true]) {
    const { promise: whole, resolve } = Promise.withResolvers<boolean>();
    async function* torn(): AsyncGenerator<Buffer> {
      yield Buffer.from('piece');
      await sleep(50);
      throw new Error('the store is damaged');
    }
    const sent = send(
      t,
      (request, response) => {
        if (early) response.writeHead(200).write('begun');
        request.on('error', () => resolve(false));
        request.resume().on('end', () => resolve(true));
      },
      torn(),
      5_000,
    );
    if (early) (await sent).on('error', () => {}).resume();
    else await t.rejects(sent, { message: 'the store is damaged' });
    t.notOk(await whole, `answered: ${early}`);
  }
});

t.test('after an answer the rest of the body is not sent', async (t) => {
  const rest = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        yield Buffer.alloc(100_000);
        await sleep(1);
      }
    } finally {
      rest.resolve();
    }
  }
  const answer = await send(
    t,
    (request, response) => void request.once('data', () => response.writeHead(413).end()),
    endless(),
    5_000,
  );
  t.equal(answer.statusCode, 413);
  answer.resume();
  await rest.promise;
});
