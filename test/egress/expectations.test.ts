// A large body that would probably be refused leaves only after 100 Continue; over real sockets.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import t, { type Test } from 'tap';
import { chunkedAgent, sendChunked } from '../../src/egress/chunked.ts';
import { Egress } from '../../src/egress/egress.ts';
import { Expectations } from '../../src/egress/expectations.ts';
import { destination } from '../policy/destination.ts';

const LARGE = 100_000;
const { signal } = new AbortController();

interface Heard {
  expect: string | undefined;
  bytes: number;
}

/** `onExpect`: answers a request that asks; everything else is read and answered with 200. */
const serve = async (
  t: Test,
  onExpect: (response: ServerResponse, take: () => Promise<void>) => Promise<void> | void,
) => {
  const heard: Heard[] = [];
  const serving = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const one: Heard = { expect: request.headers.expect, bytes: 0 };
    heard.push(one);
    request.on('error', () => {});
    const take = async (): Promise<void> => {
      for await (const piece of request as AsyncIterable<Buffer>) one.bytes += piece.length;
    };
    if (one.expect !== undefined) return onExpect(response, take);
    await take();
    response.end('taken');
  };
  const server = createServer((request, response) => void serving(request, response));
  server.on('checkContinue', (request, response) => void serving(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { heard, at: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } };
};

const head = {
  ...{ id: 'e1', destination: 'api', method: 'PUT', url: 'http://api.example/a', headers: [] },
  ...{ orderKey: '', class: 1, receivedAt: 0 },
};

const sending = (t: Test, at: { host: string; port: number }) => {
  const egress = new Egress(at);
  t.teardown(() => egress.close());
  let yielded = 0;
  async function* pieces(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; left -= 10_000) {
      yielded += 10_000;
      yield Buffer.alloc(10_000);
    }
  }
  const send = async (bytes: number, known = true, expect = true) => {
    yielded = 0;
    const body = { pieces: pieces(bytes), ...(known && { bytes }) };
    const answer = await egress.send(destination({ name: 'api' }), head, body, { signal, expect });
    let text = '';
    for await (const piece of answer.body) text += piece;
    return { status: answer.status, text, yielded };
  };
  return send;
};

t.test('of a body that is refused not a byte leaves', async (t) => {
  const { heard, at } = await serve(t, (response) => void response.writeHead(401).end('no'));
  const send = sending(t, at);
  for (const known of [true, false]) {
    t.same(await send(LARGE, known), { status: 401, text: 'no', yielded: 0 });
    t.same(heard.pop(), { expect: '100-continue', bytes: 0 });
  }
  t.match(await send(60_000), { status: 200, yielded: 60_000 }, 'a small one goes unasked');
  t.match(await send(LARGE, true, false), { status: 200, yielded: LARGE });
  t.ok(heard.every(({ expect }) => expect === undefined));
});

t.test('after 100 all of it goes', async (t) => {
  const { heard, at } = await serve(t, async (response, take) => {
    response.writeContinue();
    await take();
    response.writeHead(204).end();
  });
  const send = sending(t, at);
  for (const known of [true, false]) {
    t.match(await send(LARGE, known), { status: 204, yielded: LARGE });
    t.same(heard.pop(), { expect: '100-continue', bytes: LARGE });
  }
});

t.test(
  'a server that refuses the question gets the request without it, and is not asked again',
  async (t) => {
    const { heard, at } = await serve(t, (response) => void response.writeHead(417).end());
    const send = sending(t, at);
    t.match(await send(LARGE), { status: 200, yielded: LARGE });
    t.same(
      heard.map(({ expect }) => expect),
      ['100-continue', undefined],
    );
    t.match(await send(LARGE), { status: 200 });
    t.same(heard.slice(2), [{ expect: undefined, bytes: LARGE }]);
  },
);

t.test(
  'a server that ignores the question gets the body after a while, and is not asked again',
  async (t) => {
    const { heard, at } = await serve(t, async (response, take) => {
      await take();
      response.end();
    });
    const agent = chunkedAgent();
    t.teardown(() => agent.destroy());
    const expectations = new Expectations(50);
    async function* pieces() {
      yield Buffer.alloc(LARGE);
    }
    t.ok(expectations.asks('api'));
    const answer = await expectations.ask('api', (more) =>
      sendChunked(agent, at, {
        ...{ method: 'PUT', path: '/', headers: ['content-length', String(LARGE)], hasLength: true },
        ...{ pieces: pieces(), trailers: () => [], signal, patience: 10_000, ...more },
      }),
    );
    t.equal(answer.statusCode, 200);
    answer.resume();
    t.same(heard, [{ expect: '100-continue', bytes: LARGE }]);
    t.notOk(expectations.asks('api'));
    t.ok(expectations.asks('another'));
  },
);

t.test('a 100 that nobody asked for costs one try', async (t) => {
  const server = createTcpServer((socket) => {
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      if (!text.endsWith('\r\n\r\nhello')) return;
      text = '';
      socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const egress = new Egress({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  t.teardown(() => egress.close());
  async function* pieces() {
    yield Buffer.from('hello');
  }
  const send = () =>
    egress.send(destination({ name: 'api' }), head, { pieces: pieces(), bytes: 5 }, { signal });
  await t.rejects(send(), { message: 'bad response' });
  for (let n = 0; n < 2; n++) {
    const answer = await send();
    t.equal(answer.status, 200);
    answer.body.resume();
    await once(answer.body, 'end');
  }
});
