// A response that is given before its request has come whole is sent at once but for its end, and the rest of the request is read meanwhile.

import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type Bounds, readOn } from '../../src/queue/lingering-response.ts';
import { queueServer } from '../../src/queue/server.ts';

t.setTimeout(60_000);

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

const refuse: Serve = (_, response) => {
  response.writeHead(507, { 'content-length': 2, 'x-field': 'kept' });
  response.end('no');
};

/** A connection that says what it has read; `until` resolves when that matches. */
const clientOf = async (t: Test, serve: Serve) => {
  const server: Server = queueServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket: Socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => {
    socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  let text = '';
  let failed: Error | undefined;
  socket.on('data', (piece) => {
    text += piece.toString('latin1');
  });
  socket.on('error', (error) => {
    failed = error;
  });
  const until = async (pattern: RegExp): Promise<string> => {
    while (!pattern.test(text) && !socket.closed)
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    t.match(text, pattern);
    t.equal(failed, undefined);
    return text;
  };
  const send = (bytes: string | Buffer) =>
    new Promise<void>((sent, fail) => socket.write(bytes, (error) => (error ? fail(error) : sent())));
  return { socket, send, until, text: () => text };
};

const head = (bytes: number, more = '', method = 'PUT') =>
  `${method} /a HTTP/1.1\r\nhost: a\r\ncontent-length: ${bytes}\r\n${more}\r\n`;
const MIB = 1024 * 1024;

t.test('a client that writes first, and reads when it has written all, sees the answer', async (t) => {
  const { socket, send, until } = await clientOf(t, refuse);
  socket.pause();
  await send(head(32 * MIB));
  for (let sent = 0; sent < 32 * MIB; sent += MIB) await send(Buffer.alloc(MIB));
  socket.resume();
  const text = await until(/\r\n\r\n2\r\nno\r\n0\r\n\r\n$/);
  t.match(text, /^HTTP\/1.1 507 .*\r\nx-field: kept\r\n/);
  t.notMatch(text, /content-length|connection: close/i, 'the connection goes on');
  await send(head(0));
  await until(/content-length: 2\r\n.*\r\n\r\nno$/s);
});

t.test('one that reads meanwhile has status and body before its own body ends', async (t) => {
  const { send, until, text } = await clientOf(t, refuse);
  await send(head(MIB));
  await until(/\r\n\r\n2\r\nno\r\n$/);
  await send(Buffer.alloc(MIB - 1));
  t.notMatch(text(), /0\r\n\r\n$/, 'the end waits');
  await send(Buffer.alloc(1));
  await until(/no\r\n0\r\n\r\n$/);
});

t.test('one that stops is given the end after a moment, and its connection is closed', async (t) => {
  const { socket, send, until } = await clientOf(t, refuse);
  await send(head(MIB));
  await send(Buffer.alloc(1000));
  await until(/no\r\n0\r\n\r\n$/);
  if (!socket.closed) await once(socket, 'close');
});

t.test('one that has asked whether its body is wanted is refused without a wait', async (t) => {
  const { socket, send, until } = await clientOf(t, refuse);
  await send(head(MIB, 'expect: 100-continue\r\n'));
  const text = await until(/\r\n\r\nno$/);
  t.match(text, /^HTTP\/1.1 507/);
  t.match(text, /content-length: 2\r\n/);
  t.match(text, /connection: close\r\n/i);
  if (!socket.closed) await once(socket, 'close');
});

t.test('an answer without a body of its own is given as it is', async (t) => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['PUT', 204],
  ] as const) {
    const { send, until } = await clientOf(t, (_, response) => response.writeHead(status).end());
    await send(head(10, '', method));
    const text = await until(/\r\n\r\n$/);
    t.notMatch(text, /transfer-encoding/i);
  }
});

t.test('without a word of its head, and in pieces, it is the same', async (t) => {
  const { send, until } = await clientOf(t, (_, response) => {
    response.setHeader('x-field', 'kept');
    response.write('one');
    response.end('two', () => response.emit('told'));
    response.end('three');
  });
  await send(head(2));
  await until(/x-field: kept\r\n.*3\r\none\r\n3\r\ntwo\r\n$/s);
  await send('ab');
  await until(/two\r\n0\r\n\r\n$/);
});

for (const [what, bounds] of [
  ['time', { longestMs: 50, mostBytes: 1e12, silenceMs: 10_000 }],
  ['bytes', { longestMs: 1e6, mostBytes: 20 * MIB, silenceMs: 100 }],
] as [string, Bounds][])
  t.test(`a body without an end is read on no longer than the bound of ${what}`, async (t) => {
    const { promise: ended, resolve } = Promise.withResolvers<boolean>();
    const { socket, send } = await clientOf(t, (request, response) => {
      response.flushHeaders();
      readOn(request, response, resolve, what === 'time' ? { ...bounds, silenceMs: 80 } : bounds);
    });
    await send('PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n');
    const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MIB), Buffer.from('\r\n')]);
    let over = false;
    void ended.then(() => {
      over = true;
    });
    while (!over) await send(chunk);
    t.equal(await ended, false);
    socket.destroy();
  });
