// A body that takes its time is sent while it is stored: what is there goes as soon as the way is free, nothing older of its key is
// overtaken, and its end comes with its commit.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { StreamingBody } from '../../src/queue/streaming-body.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;

t.test('a body that grows is waited for, and lets its app on when it is asked for more', async (t) => {
  const kept = { bytes: 0, read: async function* () {} };
  const body = new StreamingBody(kept, undefined);
  const end = new AbortController();
  const reached: number[] = [];
  for (const bytes of [1, 10 * MIB, 30 * MIB])
    void body.reaches(bytes, end.signal).then(() => reached.push(bytes));
  const grow = async (bytes: number) => {
    kept.bytes = bytes;
    body.grew();
    await sleep(0);
  };
  await grow(10 * MIB);
  t.same(reached, [1, 10 * MIB]);
  t.equal(body.room(), undefined, '30 MiB are asked for');
  await grow(30 * MIB);
  const room = body.room();
  t.ok(room, 'nobody asks for more, and none has left');
  body.consumed(23 * MIB);
  await room;
  t.equal(body.length, undefined);
  const never = body.reaches(31 * MIB, end.signal);
  end.abort();
  await t.rejects(never, { message: 'the body was given up' });
  const last = body.reaches(31 * MIB, new AbortController().signal);
  body.end(['x', 'y']);
  await last;
  t.match(body, { whole: true, length: 30 * MIB, trailers: ['x', 'y'] });
});

const followScene = async (t: Test, store: object = {}) => {
  // Before the directory is asked for, or it would go first.
  t.teardown(() => at.stop());
  const at = await scene(testdir(t), [destinationOf('api', { mode: 'failover', order: 'key', ...store })]);
  at.link.up = true;
  // Replay begins when the queue knows that it is alone.
  await at.put('/first', Buffer.from('1'), undefined, { 'layby-host': 'api.example' });
  await at.until(() => at.order.length === 1);
  at.order.splice(0);
  at.sent.splice(0);
  const entries = async () => JSON.parse((await at.admin('/v1/queue')).text) as { state: string }[];
  const empty = async () => {
    while ((await entries()).length > 0);
  };
  /** An app whose request came by failover, so that it is stored. */
  const app = (path: string, headers: object = {}) => {
    const asked = request({
      ...{ socketPath: at.socket, method: 'PUT', path },
      headers: { host: 'api.example', 'layby-host': 'api.example', ...headers },
    });
    asked.on('error', () => {});
    const pieces: Buffer[] = [];
    const send = (bytes: number) => {
      const piece = randomBytes(bytes);
      pieces.push(piece);
      asked.write(piece);
    };
    return {
      send,
      /** A byte now and then, since what is sent must grow to be looked at. */
      sendUntil: async (done: () => boolean) => {
        for (; !done(); await sleep(20)) send(300_000);
      },
      end: async () => {
        const answered = once(asked, 'response') as Promise<[IncomingMessage]>;
        asked.end();
        const [answer] = await answered;
        answer.resume();
        return answer.statusCode;
      },
      die: () => asked.destroy(),
      body: () => Buffer.concat(pieces),
    };
  };
  return { ...at, app, empty, entries };
};

t.test('what is stored is sent while the app still sends, and is one request', async (t) => {
  const { app, arriving, order, sent, empty } = await followScene(t);
  const live = app('/live');
  await live.sendUntil(() => (arriving.get('/live') ?? 0) > 3 * MIB);
  live.send(2 * MIB);
  t.equal(await live.end(), 307);
  await empty();
  t.equal(order.length, 1);
  t.ok(sent[0]?.body.equals(live.body()));
  t.equal(sent[0]?.headers['transfer-encoding'], 'chunked');
});

t.test('one whose length is known goes with its length', async (t) => {
  const { app, arriving, sent, empty } = await followScene(t);
  const bytes = 30 * MIB;
  const live = app('/known', { 'content-length': bytes });
  await live.sendUntil(() => (arriving.get('/known') ?? 0) > MIB);
  live.send(bytes - live.body().length);
  t.equal(await live.end(), 307);
  await empty();
  t.equal(sent.length, 1);
  t.equal(sent[0]?.headers['content-length'], String(bytes));
  t.ok(sent[0]?.body.equals(live.body()));
});

t.test('an app that goes away leaves nothing, and what was sent is not whole', async (t) => {
  const { app, arriving, order, entries, torn } = await followScene(t);
  const live = app('/gone');
  await live.sendUntil(() => (arriving.get('/gone') ?? 0) > MIB);
  live.die();
  await torn.first;
  t.same(await entries(), []);
  t.same(order, []);
});

t.test('a way that is lost in the middle costs a new beginning, and no receipt', async (t) => {
  const { app, arriving, order, sent, empty, link } = await followScene(t);
  const live = app('/lost');
  link.tear = true;
  await live.sendUntil(() => (arriving.get('/lost') ?? 0) > 2 * MIB);
  link.tear = false;
  const before = arriving.get('/lost')!;
  await live.sendUntil(() => (arriving.get('/lost') ?? 0) > before + 4 * MIB);
  t.equal(await live.end(), 307);
  await empty();
  t.equal(order.length, 1);
  t.ok(sent[0]?.body.equals(live.body()));
});

for (const key of ['key', 'strict'] as const)
  t.test(
    `with order: ${key} it waits for what is older, and what comes meanwhile does not wait for it`,
    async (t) => {
      const { app, put, arriving, order, empty, until, link } = await followScene(t, { order: key });
      const answer = Promise.withResolvers<void>();
      link.answer = ({ headers }) => (headers['content-length'] === '3' ? answer.promise : Promise.resolve());
      const stored = { 'layby-host': 'api.example' };
      await put('/a', Buffer.from('old'), undefined, stored);
      const live = app('/a');
      const began = performance.now();
      await live.sendUntil(() => performance.now() - began > 2_500);
      t.equal(arriving.get('/a'), 3, 'nothing of it was sent');
      answer.resolve();
      await live.sendUntil(() => (arriving.get('/a') ?? 0) > MIB);
      await put('/a', Buffer.from('newer'), undefined, stored);
      await until(() => order.length === 2);
      t.same(order, ['PUT /a 3', 'PUT /a 5']);
      t.equal(await live.end(), 307);
      await put('/a', Buffer.from('last'), undefined, stored);
      await empty();
      t.same(order.slice(2), [`PUT /a ${live.body().length}`, 'PUT /a 4']);
    },
  );

t.test('what the destination refuses in the middle is a dead letter at the end', async (t) => {
  const { app, arriving, entries, refuse } = await followScene(t);
  const live = app('/no');
  refuse(413);
  await live.sendUntil(() => (arriving.get('/no') ?? 0) > MIB);
  t.equal(await live.end(), 307);
  for (let found = await entries(); found[0]?.state !== 'dead'; found = await entries());
});
