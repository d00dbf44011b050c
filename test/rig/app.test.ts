// The clients, the oracle and the judge together, without Layby between them: what a road does to an app by itself.

import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { curl, load } from './app.ts';
import { check } from './checker.ts';
import { blackhole } from './faults/blackhole.ts';
import { flap } from './faults/flap.ts';
import { makeRoad, noRoad } from './namespaces.ts';
import { Oracle } from './oracle.ts';
import { testdir } from './testdir.ts';

t.test('curl sends files, buffers and streams', async (t) => {
  const dir = testdir(t, { file: 'from a file' });
  const oracle = await Oracle.start({ file: join(dir, 'oracle.jsonl') });
  t.teardown(() => oracle.stop());
  const bodies = [
    { file: join(dir, 'file') },
    Buffer.from('from memory'),
    { stream: Readable.from([Buffer.from('a'), Buffer.from('b')]) },
  ];
  for (const body of bodies)
    t.match(await curl(`${oracle.url}/x`, { method: 'PUT', body }), { status: 200, exitCode: 0 });
  const arrivals = await oracle.requests();
  t.same(
    arrivals.map(({ bytes, rawHeaders }) => [bytes, rawHeaders.includes('chunked')]),
    [
      [11, false],
      [11, false],
      [2, true],
    ],
  );
});

t.test('curl calls a name through a listener elsewhere', async (t) => {
  const oracle = await Oracle.start({ file: join(testdir(t), 'oracle.jsonl') });
  t.teardown(() => oracle.stop());
  const { host } = new URL(oracle.url);
  await curl('http://dashcam.example/clip', { via: host });
  await curl('http://dashcam.example/clip', { proxy: host });
  const [direct, proxied] = await oracle.requests();
  t.match(direct, { path: '/clip' });
  t.equal(direct!.rawHeaders[direct!.rawHeaders.indexOf('Host') + 1], 'dashcam.example');
  t.match(proxied, { path: 'http://dashcam.example/clip' });
});

t.test('curl reports what went wrong by its exit code', async (t) => {
  t.match(await curl('http://127.0.0.1:1/'), { exitCode: 7, status: 0 });
  const stopped = new AbortController();
  const silent = await Oracle.start({ file: join(testdir(t), 'oracle.jsonl') });
  t.teardown(() => silent.stop());
  await silent.answer({ never: true });
  const began = silent.begins(() => true);
  const call = curl(silent.url, { signal: stopped.signal });
  await began;
  stopped.abort();
  t.match(await call, { exitCode: -1, status: 0 });
});

t.test('a load over a whole road keeps every law', { skip: noRoad }, async (t) => {
  const dir = testdir(t);
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const oracle = await Oracle.start({ road, file: join(dir, 'oracle.jsonl') });
  t.teardown(() => oracle.stop());
  const plan = { target: oracle.url, host: 'dashcam.example', seed: 1, keys: 10, concurrency: 8 };
  const whole = await load(
    { ...plan, requests: 500, bytes: [0, 100_000], out: join(dir, 'a.jsonl') },
    { road },
  );
  const large = await load(
    {
      ...plan,
      requests: 6,
      bytes: [2_000_000, 3_000_000],
      out: join(dir, 'b.jsonl'),
      from: 500,
      method: 'POST',
    },
    { road },
  );
  const chunked = await load(
    { ...plan, requests: 20, bytes: [0, 2_000_000], out: join(dir, 'c.jsonl'), from: 600, chunked: true },
    { road },
  );
  const verdict = check([...whole, ...large, ...chunked], await oracle.requests());
  t.match(verdict, { violations: [], answered: 526, delivered: 526, duplicates: 0, torn: 0 });
});

t.test(
  'a load over a flapping road, without Layby, breaks law 7, and the judge says so',
  { skip: noRoad },
  async (t) => {
    const dir = testdir(t);
    const road = await makeRoad();
    t.teardown(() => road.remove());
    const oracle = await Oracle.start({ road, file: join(dir, 'oracle.jsonl') });
    t.teardown(() => oracle.stop());
    const flapping = flap(blackhole(road), { seed: 3, up: [100, 300], down: [1500, 1800] });
    const began = oracle.begins(() => true);
    const out = join(dir, 'app.jsonl');
    const stop = new AbortController();
    const sending = load(
      {
        ...{
          target: oracle.url,
          requests: 100_000,
          concurrency: 4,
          keys: 4,
          bytes: [1000, 50_000],
          seed: 1,
          out,
        },
        ...{ timeout: 1000, pause: 20 },
      },
      { road, signal: stop.signal },
    );
    await began;
    await flapping.inject();
    while (flapping.cuts < 2) await sleep(20);
    stop.abort();
    const app = await sending;
    await flapping.clear();
    const verdict = check(app, await oracle.requests());
    t.ok(verdict.failed > 0);
    t.ok(
      verdict.violations.every((words) => words.startsWith('law 7')),
      verdict.violations.join('\n'),
    );
    t.ok(verdict.violations.some((words) => /request \d+ .* failed at its app/.test(words)));
  },
);
