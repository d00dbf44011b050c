// WebSocket and gRPC through a real sidecar: they go straight to the destination and are never stored, whatever the link, and
// leave the requests beside them alone.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { freePort } from '../rig/ports.ts';
import {
  closed,
  destination,
  echoed,
  grpcApp,
  grpcServer,
  http2App,
  upgrade,
  webSocketServer,
} from './streams-scene.ts';
import { mesh } from './treatment-scene.ts';

t.setTimeout(120_000);

const chat = await webSocketServer(t);
const echo = await grpcServer(t);
const gone = await freePort();
const url = `http://127.0.0.1:${chat.port}`;
const { layby, call } = await mesh(
  t,
  [
    destination('chat', { url: `${url}/base` }, { answerTimeout: '2s' }),
    destination('always', { url }, { store: { mode: 'always' } }),
    destination('never', { url }, { store: { mode: 'never' } }),
    destination('gone', { url: `http://127.0.0.1:${gone}` }),
    destination('rpc', { url: `http://127.0.0.1:${echo.port}`, protocol: 'http2' }),
    destination('gone-rpc', { url: `http://127.0.0.1:${gone}`, protocol: 'http2' }),
  ].join('\n---\n'),
);
const { outbound } = layby;

const untouched = async (t: Test, name: string) => {
  t.equal((await call('PUT', `http://${name}.example/after`, { body: 'x' })).status, 200);
  t.same(await layby.queue(), [], 'nothing is stored');
};

for (const held of [false, true]) {
  t.test(`a WebSocket passes${held ? ', and goes on while calls are stored' : ''}`, async (t) => {
    const app = await upgrade(outbound, 'http://chat.example/room?q=1', {
      headers: { 'sec-websocket-protocol': 'v1.chat', 'layby-host': 'evil.example' },
    });
    t.equal(app.status, 101);
    const { url, headers } = chat.handshakes.at(-1)!;
    t.equal(url, '/base/room?q=1');
    t.match(headers, {
      host: `127.0.0.1:${chat.port}`,
      upgrade: 'websocket',
      'sec-websocket-protocol': 'v1.chat',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    });
    t.notMatch(JSON.stringify(headers), /layby|evil/);
    t.ok(await echoed(app.socket, randomBytes(3 * 1024 * 1024)), 'bytes of both sides, as they are');
    if (held) {
      await layby.link('down', 'chat');
      t.equal((await call('PUT', 'http://chat.example/beside', { body: 'x' })).status, 307);
      t.ok(await echoed(app.socket, Buffer.from('on')), 'and it goes on');
      await layby.link('auto', 'chat');
      await layby.untilQueue((lines) => lines.length === 0);
    }
    const ended = closed(chat.sockets.at(-1)!);
    app.socket.destroy();
    await ended;
  });
}

t.test('whatever the policy stores', async (t) => {
  for (const name of ['always', 'never']) {
    const app = await upgrade(outbound, `http://${name}.example/room`);
    t.equal(app.status, 101, name);
    t.ok(await echoed(app.socket, Buffer.from('hello')));
    app.socket.destroy();
  }
});

t.test('a WebSocket lives longer than `answerTimeout`', async (t) => {
  const app = await upgrade(outbound, 'http://chat.example/long');
  t.ok(await echoed(app.socket, Buffer.from('first')));
  // What it is about is that time passes.
  await new Promise((done) => setTimeout(done, 2_500));
  t.ok(await echoed(app.socket, Buffer.from('second')));
  app.socket.destroy();
});

t.test('a server that breaks a WebSocket off is no lost link: the next call goes to it', async (t) => {
  const app = await upgrade(outbound, 'http://chat.example/room');
  const ended = closed(app.socket);
  chat.sockets.at(-1)!.resetAndDestroy();
  app.socket.resume();
  await ended;
  await untouched(t, 'chat');
});

t.test('a WebSocket over HTTP/2 is one to the destination', async (t) => {
  const session = http2App(t, outbound);
  await once(session, 'remoteSettings');
  const stream = session.request({
    ...{ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': '/h2' },
    ...{ ':authority': 'chat.example', 'sec-websocket-version': '13' },
  });
  const [answer] = await once(stream, 'response');
  t.equal(answer[':status'], 200);
  t.match(chat.handshakes.at(-1), { url: '/base/h2', headers: { upgrade: 'websocket' } });
  t.ok(await echoed(stream, randomBytes(100_000)));
  stream.close();
});

t.test('without a link the app is told so', async (t) => {
  const { status, headers, text } = await upgrade(outbound, 'http://gone.example/room');
  t.equal(status, 503);
  t.match(headers, { 'content-type': 'application/problem+json', 'retry-after': '2' });
  t.match(JSON.parse(text), { type: 'https://layby.dev/problems/no-link', status: 503 });
  t.same(await layby.queue(), []);
});

t.test('what only looks like a WebSocket is a call like any other', async (t) => {
  const before = chat.handshakes.length;
  await layby.link('down', 'chat');
  // Without `connection: upgrade` it is none: this read is the queue's to answer.
  const read = await upgrade(outbound, 'http://chat.example/1', { headers: { connection: 'close' } });
  t.equal(read.status, 503);
  t.equal((await upgrade(outbound, 'http://chat.example/2', { method: 'PUT' })).status, 403);
  await layby.link('auto', 'chat');
  t.equal(chat.handshakes.length, before);
});

t.test('gRPC calls pass', async (t) => {
  const app = grpcApp(t, outbound, 'rpc.example');
  const { answer, first, trailers } = await app.unary('hello');
  t.equal(answer, 'hello');
  t.equal(echo.calls.at(-1), 'video');
  t.same(first.get('x-first'), ['yes']);
  t.same(trailers.get('x-sum'), ['42']);
  t.same(trailers.get('x-sum-bin'), [Buffer.from([0, 255])]);
  const { error } = await app.unary('no');
  t.match(error, { code: status.FAILED_PRECONDITION, details: 'not like this' });

  const stream = app.bidi();
  for (const words of [Buffer.from('one'), randomBytes(2 * 1024 * 1024), Buffer.from('three')]) {
    stream.write(words);
    const [said] = (await once(stream, 'data')) as [Buffer];
    t.ok(said.equals(words), 'each is answered while the stream is open');
  }
  const ended = once(stream, 'status');
  stream.end();
  stream.resume();
  const [end] = await ended;
  t.equal(end.code, status.OK);
  t.same(end.metadata.get('x-sum'), ['42']);
  t.same(await layby.queue(), [], 'nothing is stored');
});

t.test('what the operator has stopped begins no conversation, and lets no call pass', async (t) => {
  const names = ['chat', 'never', 'rpc'];
  const before = chat.handshakes.length;
  const said = await layby.link('down', ...names);
  for (const name of ['chat', 'never']) {
    const { status, text } = await upgrade(outbound, `http://${name}.example/room`);
    t.equal(status, 503, name);
    t.match(JSON.parse(text), { type: 'https://layby.dev/problems/no-link' });
  }
  for (const method of ['GET', 'PUT', 'POST'])
    t.equal((await call(method, 'http://never.example/x')).status, 503, method);
  const { error } = await grpcApp(t, outbound, 'rpc.example').unary('hello');
  t.equal(error?.code, status.UNAVAILABLE);
  t.equal(chat.handshakes.length, before);
  t.same(await layby.queue(), []);
  t.match(said, /never +held +the operator has stopped the link: calls are refused/);
  t.match(
    said,
    /chat +held +the link is down \(override\): calls are stored, and what is not stored is refused/,
  );
  await layby.link('auto', ...names);
  t.equal((await call('GET', 'http://never.example/x')).status, 200);
  const again = await upgrade(outbound, 'http://chat.example/room');
  t.equal(again.status, 101);
  again.socket.destroy();
});

t.test('without a link a gRPC client is told so, in its own words', async (t) => {
  const { error } = await grpcApp(t, outbound, 'gone-rpc.example').unary('hello');
  t.equal(error?.code, status.UNAVAILABLE);
  t.notMatch(error?.details, /\{/);
  t.same(await layby.queue(), []);
});
