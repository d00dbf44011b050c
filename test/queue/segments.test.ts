// Streams in segments at the queue itself, with a destination that records what it gets.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import t, { type Test } from 'tap';
import type { Segmenting } from '../../src/policy/policy.ts';
import { segmentUrl } from '../../src/queue/segments.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const streaming = async (t: Test, segment: Partial<Segmenting>) => {
  const stream = { segment: { bytes: 100_000, time: 60_000, name: '{path}/{n}', ...segment } };
  const destination = destinationOf('cam', { mode: 'failover', methods: ['PUT'], stream });
  const at = await scene(testdir(t), [destination]);
  t.teardown(() => at.stop());
  /** A body of unknown length, still open. */
  const open = (path: string): ClientRequest => {
    const headers = { host: 'cam.example', 'transfer-encoding': 'chunked', 'content-type': 'video/mp4' };
    return request({ socketPath: at.socket, method: 'PUT', path, headers });
  };
  const write = (app: ClientRequest, bytes: Buffer) =>
    new Promise<void>((resolve, reject) => app.write(bytes, (error) => (error ? reject(error) : resolve())));
  const whole = (path: string) =>
    Buffer.concat(at.sent.filter((one) => one.path.startsWith(path)).map(({ body }) => body));
  return { ...at, open, write, whole };
};

t.test('a template gives each segment its path, and leaves host and query alone', async (t) => {
  t.equal(segmentUrl('http://a.example/x/y?v=1', '{path}/{n}', 7), 'http://a.example/x/y/000007?v=1');
  t.equal(
    segmentUrl('http://a.example/x', '/all/{n}-of{path}.ts', 12),
    'http://a.example/all/000012-of/x.ts',
  );
});

t.test('segments are sent while the app goes on, in order and whole; the last one says so', async (t) => {
  const at = await streaming(t, {});
  at.link.up = true;
  const body = randomBytes(250_000);
  const app = at.open('/live');
  await at.write(app, body.subarray(0, 230_000));
  await at.until(() => at.arrived.has('/live/000001'));
  t.notOk(app.writableEnded, 'two have arrived before the app has ended');
  app.end(body.subarray(230_000));
  const [answer] = (await once(app, 'response')) as [IncomingMessage];
  t.equal(answer.statusCode, 307);
  answer.resume();
  await at.until(() => at.arrived.has('/live/000002'));
  t.same(
    at.sent.map(({ path, body, headers }) => [
      path,
      body.length,
      headers['layby-segment'],
      headers['layby-stream-end'],
    ]),
    [
      ['/live/000000', 100_000, '0', undefined],
      ['/live/000001', 100_000, '1', undefined],
      ['/live/000002', 50_000, '2', 'whole'],
    ],
  );
  t.equal(new Set(at.sent.map(({ headers }) => headers['layby-stream'])).size, 1);
  t.ok(at.sent.every(({ headers }) => headers['content-type'] === 'video/mp4'));
  t.ok(at.whole('/live').equals(body));
});

t.test('an end on the boundary is said by an empty segment', async (t) => {
  const at = await streaming(t, {});
  at.link.up = true;
  const app = at.open('/even');
  app.end(randomBytes(100_000));
  const [answer] = (await once(app, 'response')) as [IncomingMessage];
  answer.resume();
  await at.until(() => at.arrived.has('/even/000001'));
  t.equal(at.arrived.get('/even/000001'), 0);
  t.equal(at.sent.at(-1)!.headers['layby-stream-end'], 'whole');
});

t.test('time closes a segment too', async (t) => {
  const at = await streaming(t, { time: 50 });
  at.link.up = true;
  const app = at.open('/slow');
  await at.write(app, Buffer.from('a little'));
  await at.until(() => at.arrived.has('/slow/000000'));
  t.equal(at.arrived.get('/slow/000000'), 8);
  app.end();
  const [answer] = (await once(app, 'response')) as [IncomingMessage];
  answer.resume();
});

t.test('of an app that goes away what came is kept, and marked as torn', async (t) => {
  const at = await streaming(t, {});
  const body = randomBytes(130_000);
  const app = at.open('/torn');
  app.on('error', () => {});
  await at.write(app, body);
  while (!(await at.admin('/v1/queue/status')).text.includes('"entries":1'));
  app.destroy();
  while (!(await at.admin('/v1/queue/status')).text.includes('"entries":2'));
  await at.restart();
  at.link.up = true;
  await at.until(() => at.arrived.has('/torn/000001'));
  t.equal(at.sent.at(-1)!.headers['layby-stream-end'], 'torn');
  t.ok(at.whole('/torn').equals(body));
});

t.test('a body whose length is known stays one request', async (t) => {
  const at = await streaming(t, { bytes: 10 });
  at.link.up = true;
  const answer = await at.put('/one', randomBytes(1000));
  t.equal(answer.status, 200);
  t.same([...at.arrived], [['/one', 1000]]);
});
