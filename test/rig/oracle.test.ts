// The recording destination: it writes down what really came, and answers as it was told.

import { createHash } from 'node:crypto';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { curl } from './app.ts';
import { arrivalsIn, Oracle } from './oracle.ts';
import { WISH } from './oracle-protocol.ts';
import { testdir } from './testdir.ts';

const start = async (t: Test): Promise<Oracle> => {
  const oracle = await Oracle.start({ file: join(testdir(t), 'oracle.jsonl') });
  t.teardown(() => oracle.stop());
  return oracle;
};

const portOf = (url: string): number => Number(new URL(url).port);

t.test('an arrival is recorded as it was on the wire', async (t) => {
  const oracle = await start(t);
  const body = Buffer.alloc(100_000, 'layby');
  await curl(`${oracle.url}/a//b/../c?x=%7E+y`, { method: 'POST', body, headers: ['X-Case: Kept'] });
  const [arrival] = await oracle.requests();
  t.match(arrival, {
    n: 1,
    method: 'POST',
    path: '/a//b/../c?x=%7E+y',
    bytes: 100_000,
    torn: false,
    answer: 200,
  });
  t.equal(arrival!.sha256, createHash('sha256').update(body).digest('hex'));
  t.ok(arrival!.rawHeaders.includes('X-Case'));
  t.same(await arrivalsIn(oracle.file), [arrival], 'the file has it too');
});

t.test('trailers of a chunked body are recorded', async (t) => {
  const oracle = await start(t);
  const socket = createConnection(portOf(oracle.url), '127.0.0.1');
  socket.end(
    'PUT /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n',
  );
  const [arrival] = await oracle.until((arrivals) => arrivals.length === 1);
  t.match(arrival, { bytes: 3, torn: false, rawTrailers: ['X-Sum', '1'] });
  socket.destroy();
});

t.test('a body that breaks off is recorded as torn', async (t) => {
  const oracle = await start(t);
  for (const head of ['Content-Length: 10', 'Transfer-Encoding: chunked']) {
    const began = oracle.begins(({ path }) => path === '/torn');
    const socket = createConnection(portOf(oracle.url), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`PUT /torn HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n3\r\nabc\r\n`);
    await began;
    socket.destroy();
  }
  const arrivals = await oracle.until((arrivals) => arrivals.length === 2);
  t.match(arrivals, [
    { torn: true, answer: null },
    { torn: true, answer: null },
  ]);
});

t.test('rules and wishes decide the answer', async (t) => {
  const oracle = await start(t);
  const status = async (path: string, wish?: string) =>
    (await curl(`${oracle.url}${path}`, { headers: wish ? [`${WISH}: ${wish}`] : [] })).status;
  await oracle.answer({ path: '/busy', status: 503, headers: { 'retry-after': '1' }, times: 2 });
  const busy = await curl(`${oracle.url}/busy`);
  t.equal(busy.status, 503);
  t.equal(busy.headers.get('retry-after'), '1');
  t.equal(await status('/free'), 200, 'another path');
  t.equal(await status('/busy'), 503);
  t.equal(await status('/busy'), 200, 'used up');
  for (const wished of [401, 403, 409])
    t.equal(await status('/', JSON.stringify({ status: wished })), wished);
  await oracle.answer({ status: 500 });
  t.equal(await status('/'), 500);
  await oracle.reset();
  t.equal(await status('/'), 200);
});

t.test('an answer may be late, early, or never come', async (t) => {
  const oracle = await start(t);
  const put = (wish: object, options: { mib?: number; signal?: AbortSignal } = {}) =>
    curl(`${oracle.url}/`, {
      ...{ method: 'PUT', body: Buffer.alloc((options.mib ?? 1) * 1024 * 1024), maxTime: 20 },
      headers: [`${WISH}: ${JSON.stringify(wish)}`, 'Expect:'],
      ...(options.signal && { signal: options.signal }),
    });
  /** Waits a while once the oracle has it, in vain. */
  const inVain = async (has: Promise<unknown>, wish: object, mib = 1) => {
    const until = new AbortController();
    const answer = put(wish, { mib, signal: until.signal });
    await has;
    await sleep(500);
    until.abort();
    return (await answer).status;
  };
  const late = await put({ delay: 300 });
  t.equal(late.status, 200);
  t.ok(late.ms >= 300);
  t.equal((await put({ after: 1000, status: 403 })).status, 403);
  t.equal(
    await inVain(
      oracle.until((arrivals) => arrivals.length === 3),
      { never: true },
    ),
    0,
  );
  // More than the kernel's buffers take.
  t.equal(
    await inVain(
      oracle.begins(() => true),
      { stall: 1000 },
      32,
    ),
    0,
  );
  await oracle.reset();
  await oracle.until((arrivals) => arrivals.length === 4);
  t.not((await put({ cut: 1000 })).exitCode, 0);
  const arrivals = await oracle.until((arrivals) => arrivals.length === 5);
  t.same(
    arrivals.map(({ torn, answer }) => [torn, answer]),
    [
      [false, 200],
      [arrivals[1]!.torn, arrivals[1]!.torn ? null : 403], // curl may stop sending once it has its answer.
      [false, null],
      [true, null],
      [true, null],
    ],
  );
});

t.test('the other port streams', async (t) => {
  const oracle = await start(t);
  t.equal((await curl(`${oracle.streamUrl}/?bytes=1000000`)).body.length, 1_000_000);
  const ticks = await curl(`${oracle.streamUrl}/?pace=10`, { maxTime: 3 });
  t.match(ticks.body.toString(), /^tick 1\ntick 2\n/);
  t.equal(ticks.exitCode, 28, 'without an end');
});

t.test('the record outlives the oracle', async (t) => {
  const oracle = await start(t);
  await curl(oracle.url);
  await oracle.stop();
  t.equal((await oracle.requests()).length, 1);
});
