// HTTP/2 without TLS, from apps and to destinations, with requests that may be stored.

import { createHash, randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import t from 'tap';
import { freePort } from '../rig/ports.ts';
import { answerTo, destination, http2App, http2Server } from './streams-scene.ts';
import { mesh, upstreams } from './treatment-scene.ts';

t.setTimeout(120_000);

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const cloud = await upstreams(t, 'main');
const [port, late] = [await freePort(), await freePort()];
const { layby, call } = await mesh(
  t,
  [
    destination('one', { url: cloud.url('main') }),
    destination('two', { url: `http://127.0.0.1:${port}/base`, protocol: 'http2' }),
    destination('late', { url: `http://127.0.0.1:${late}`, protocol: 'http2' }),
  ].join('\n---\n'),
);

t.test('an app may speak HTTP/2: it gets the answer, or the receipt', async (t) => {
  const session = http2App(t, layby.outbound);
  const put = async (path: string, body: Buffer, headers: Record<string, string> = {}) => {
    const stream = session.request({
      ':method': 'PUT',
      ':authority': 'one.example',
      ':path': path,
      ...headers,
    });
    stream.end(body);
    return answerTo(stream);
  };
  const small = Buffer.from('small');
  t.match(await put('/1', small, { 'content-length': '5' }), { status: 200, text: 'main' });
  // Of unknown length, and past what Envoy keeps.
  t.match(await put('/2', randomBytes(2 * 1024 * 1024)), { status: 200 });
  t.match(await cloud.next(({ url }) => url === '/1'), { body: 'small' });
  await cloud.next(({ url }) => url === '/2');

  await layby.link('down', 'one');
  const { status, headers, text } = await put('/3', Buffer.from('kept'));
  t.equal(status, 307);
  t.match(headers.location, /^\/\.well-known\/layby\/entries\/[0-9a-f-]{36}$/);
  t.equal(text, '');
  const again = await put(String(headers.location), Buffer.from('kept'));
  t.equal(again.status, 200, 'a client that follows');
  t.equal((await layby.queue()).length, 1);
  await layby.link('auto', 'one');
  t.match(await cloud.next(({ url }) => url === '/3'), { method: 'PUT', body: 'kept' });
});

t.test('a destination may speak HTTP/2 and nothing else, also for what was stored', async (t) => {
  const arrived = new Map<string, { version: string; sha256: string; headers: object }>();
  const listener: RequestListener = async (request, response) => {
    const hash = createHash('sha256');
    for await (const piece of request) hash.update(piece);
    const { httpVersion: version, headers, url = '' } = request;
    arrived.set(url, { version, sha256: hash.digest('hex'), headers });
    response.end('two');
  };
  const same = (path: string, body: Buffer) =>
    t.match(arrived.get(path), { version: '2.0', sha256: sha256(body) }, path);
  const early = await call('POST', 'http://late.example/early', { body: 'failed over' });
  t.equal(early.status, 307, 'nobody is there yet');
  await http2Server(t, late, listener);
  await layby.untilQueue((lines) => lines.length === 0);
  same('/early', Buffer.from('failed over'));
  await http2Server(t, port, listener);

  const large = randomBytes(2 * 1024 * 1024);
  const direct = await call('PUT', 'http://two.example/direct', { body: 'x' });
  t.match(direct, { status: 200, text: 'two' });
  same('/base/direct', Buffer.from('x'));
  const pieces = async function* () {
    yield large;
  };
  t.equal((await call('PUT', 'http://two.example/through', { body: pieces() })).status, 200);
  same('/base/through', large);
  await layby.link('down', 'two');
  t.equal((await call('PUT', 'http://two.example/stored', { body: pieces() })).status, 307);
  await layby.link('auto', 'two');
  await layby.untilQueue((lines) => lines.length === 0);
  same('/base/stored', large);
});
