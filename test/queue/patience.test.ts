// Patience: the app gets its receipt, the same upload goes on behind, and its entry leaves with it or waits like any other.

import { randomBytes } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { preferenceOf } from '../../src/queue/prefer.ts';
import { SpoolTail } from '../../src/queue/spool-tail.ts';
import { StreamingBody } from '../../src/queue/streaming-body.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

t.test('what an app prefers', async (t) => {
  for (const [prefer, wanted] of [
    [undefined, { respondAsync: false }],
    ['respond-async', { respondAsync: true }],
    ['return=minimal, Respond-Async; x=y, wait=10', { respondAsync: true, wait: 10_000 }],
    ['wait = "5", wait=7', { respondAsync: false, wait: 5_000 }],
    ['wait=-1, wait=x, wait', { respondAsync: false }],
    ['wait=999999999', { respondAsync: false, wait: 86_400_000 }],
  ] as const)
    t.same(preferenceOf({ headers: { prefer } } as unknown as IncomingMessage), wanted, `${prefer}`);
});

t.test('a tail passes on what comes while it keeps up, and reads back what it missed', async (t) => {
  const written: Buffer[] = [];
  const read: number[] = [];
  const stored = {
    get bytes() {
      return Buffer.concat(written).length;
    },
    async *read({ start = 0 }) {
      read.push(start);
      yield Buffer.concat(written).subarray(start);
    },
  };
  const body = new StreamingBody(stored, undefined);
  const tail = new SpoolTail(body, new AbortController().signal);
  const push = (text: string) => {
    written.push(Buffer.from(text));
    tail.offer(Buffer.from(text));
  };
  const pieces = tail[Symbol.asyncIterator]();
  const next = async () => String((await pieces.next()).value);
  const first = next();
  push('one');
  t.equal(await first, 'one');
  t.same(read, [], 'it was waiting for it');
  push('two');
  push('three');
  t.equal(await next(), 'twothree');
  t.same(read, [3]);
  const fourth = next();
  await sleep(0);
  push('four');
  push('five');
  t.equal(await fourth, 'four');
  t.equal(await next(), 'five');
  t.same(read, [3, 15], 'two at once: the second is read back');
  t.equal(tail.sent, 15);
  body.end([]);
  t.ok((await pieces.next()).done);
  t.equal(tail.sent, 19);
});

const slowScene = async (t: import('tap').Test, store: object = {}) => {
  // Before the directory is asked for, or it would go first.
  t.teardown(() => at.stop());
  const at = await scene(testdir(t), [
    destinationOf('api', { mode: 'failover', order: 'key', patience: 50, ...store }),
  ]);
  at.link.up = true;
  // Replay begins when the queue knows that it is alone; from then on it takes uploads over.
  await at.put('/first', Buffer.from('1'), undefined, { 'layby-host': 'api.example' });
  await at.until(() => at.order.length === 1);
  while ((await at.admin('/v1/queue')).text.trim() !== '[]');
  at.order.splice(0);
  at.sent.splice(0);
  const answer = Promise.withResolvers<void>();
  at.link.answer = () => answer.promise;
  const entries = async () =>
    JSON.parse((await at.admin('/v1/queue')).text) as { id: string; state: string }[];
  const until = async (done: (found: { id: string; state: string }[]) => boolean) => {
    for (let found = await entries(); !done(found); found = await entries());
  };
  return { ...at, answer, entries, untilEntries: until };
};

t.test('an upload that outlasts its patience is delivered by that upload', async (t) => {
  const { put, call, order, sent, answer, entries, untilEntries } = await slowScene(t);
  const body = randomBytes(3_000_000);
  const receipt = await put('/a', body);
  t.equal(receipt.status, 307);
  t.match(await entries(), [{ id: receipt.headers['layby-entry'], state: 'sending' }]);
  t.equal((await put('/a', Buffer.from('after'))).status, 307, 'what comes for it is behind it');
  t.equal((await call('GET', '/a')).text, 'after');
  answer.resolve();
  await untilEntries((left) => left.length === 0);
  t.same(order, ['PUT /a 3000000', 'PUT /a 5'], 'once, and in order');
  t.ok(sent[0]?.body.equals(body));
});

t.test('an upload that breaks behind its app waits for replay, before what came after it', async (t) => {
  const { put, order, link, answer, untilEntries } = await slowScene(t);
  const body = randomBytes(2_000_000);
  t.equal((await put('/a', body)).status, 307);
  t.equal((await put('/a', Buffer.from('after'))).status, 307);
  link.cut = true;
  answer.resolve();
  await untilEntries(([first]) => first?.state === 'stored');
  link.cut = false;
  await untilEntries((left) => left.length === 0);
  t.same(order, ['PUT /a 2000000', 'PUT /a 5']);
});

t.test('an answer in time is the answer, and nothing is stored', async (t) => {
  const { put, order, answer, entries } = await slowScene(t, { patience: 60_000 });
  answer.resolve();
  t.equal((await put('/a', randomBytes(2_000_000))).status, 200);
  t.same(await entries(), []);
  t.same(order, ['PUT /a 2000000']);
});

t.test('while the destination reads nothing, the queue takes the body, and gives the receipt', async (t) => {
  const { put, link, order, answer, untilEntries } = await slowScene(t);
  const begin = Promise.withResolvers<void>();
  link.read = () => begin.promise;
  const before = process.memoryUsage().arrayBuffers;
  const body = randomBytes(60_000_000);
  t.equal((await put('/big', body)).status, 307);
  // What nobody holds any more may still be there, where the machine is busy.
  collectGarbage();
  t.ok(process.memoryUsage().arrayBuffers - before < 100_000_000, 'the body itself, and some');
  begin.resolve();
  answer.resolve();
  await untilEntries((left) => left.length === 0);
  t.same(order, ['PUT /big 60000000']);
});

t.test('Prefer: wait=0 and respond-async', async (t) => {
  const { call, put, order, answer, untilEntries, entries } = await slowScene(t, { patience: 60_000 });
  const path = '/.well-known/layby/entries/';
  const preferred = await put('/a', Buffer.from('1'), undefined, { prefer: 'respond-async' });
  t.match(preferred, {
    status: 202,
    headers: {
      location: path + preferred.headers['layby-entry'],
      'preference-applied': 'respond-async',
      'content-length': '0',
    },
  });
  t.match(await call('GET', preferred.headers.location!), {
    status: 200,
    text: /"state":"(stored|sending)"/,
  });
  t.equal(
    (await put('/b', Buffer.from('2'), undefined, { prefer: 'wait=0' })).status,
    307,
    'the policy says how',
  );
  const both = await put('/c', Buffer.from('3'), undefined, { prefer: 'respond-async, wait=0' });
  t.equal(both.status, 202);
  t.equal((await entries()).length, 3);
  answer.resolve();
  await untilEntries((left) => left.length === 0);
  t.same([...order].sort(), ['PUT /a 1', 'PUT /b 1', 'PUT /c 1']);
});

t.test('an app that goes away in the middle of its body leaves nothing, stored or sent', async (t) => {
  for (const patience of [50, undefined])
    await t.test(`patience ${patience}`, async (t) => {
      const { socket, order, torn, answer, entries } = await slowScene(t, { patience });
      answer.resolve();
      const gone = request({
        socketPath: socket,
        method: 'PUT',
        path: '/a',
        headers: { host: 'api.example', 'content-length': 9_000_000 },
      });
      gone.on('error', () => {});
      gone.write(randomBytes(4_000_000));
      await torn.begun;
      gone.destroy();
      await torn.first;
      t.same(order, []);
      t.same(await entries(), []);
    });
});
