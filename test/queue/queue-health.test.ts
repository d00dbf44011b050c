// Whether the queue works, without a queue: what counts as hanging, and what an idle one writes to find it.

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { StallWatch } from '../../src/platform/stall-watch.ts';
import { DiskProof } from '../../src/queue/disk-proof.ts';
import { QueueHealth } from '../../src/queue/queue-health.ts';
import { testdir } from '../rig/testdir.ts';

const works = { asked: () => {}, problem: undefined };

t.test('an operation that hangs: not ready after 10 s, not alive after 60 s', async (t) => {
  const stalls = { oldest: undefined as { what: string; ms: number } | undefined };
  const health = new QueueHealth(stalls, works);
  t.match(health.notReady(), /the store is being opened/);
  t.equal(health.notAlive(), undefined, 'however long that takes');
  health.starting = undefined;
  for (const [ms, ready, alive] of [
    [9_999, true, true],
    [10_000, false, true],
    [59_999, false, true],
    [60_000, false, false],
  ] as const) {
    stalls.oldest = { what: 'a commit of the store', ms };
    t.equal(health.notReady() === undefined, ready, `${ms} ms: ready`);
    t.equal(health.notAlive() === undefined, alive, `${ms} ms: alive`);
  }
  t.equal(health.notAlive(), 'the disk does not answer: a commit of the store has been under way for 60 s');
});

t.test('time in which the event loop does not turn is not the time of the disk', async (t) => {
  const stalls = new StallWatch();
  const { promise, resolve } = Promise.withResolvers<void>();
  const watched = stalls.write('a commit of the store', promise);
  for (const end = performance.now() + 4_000; performance.now() < end; );
  await sleep(700);
  const { ms } = stalls.oldest!;
  t.ok(ms > 400 && ms < 2_500, `${ms} of 4,700 ms`);
  resolve();
  await watched;
  t.equal(stalls.oldest, undefined);
  t.equal(stalls.written, 1);
  await t.rejects(stalls.write('a commit of the store', Promise.reject(new Error('no'))), /no/);
  t.equal(stalls.written, 1, 'what fails proves nothing');
});

t.test('an idle queue proves its disk seldom, and not where the store has written', async (t) => {
  const path = join(testdir(t), 'disk-proof');
  const stalls = new StallWatch();
  const proof = new DiskProof(path, stalls, 300);
  const written = () => {
    try {
      return readFileSync(path, 'utf8').slice(0, 24);
    } catch {
      return '';
    }
  };
  proof.asked();
  t.equal(written(), '', 'the first question only looks what the store has written');
  await sleep(320);
  for (let i = 0; i < 10; i++) proof.asked();
  await sleep(100);
  const first = written();
  t.match(first, /^\d{4}-/);
  t.equal(statSync(path).size, 512);
  t.equal(statSync(path).mode & 0o777, 0o600);
  await stalls.write('a commit of the store', Promise.resolve());
  await sleep(320);
  proof.asked();
  await sleep(100);
  t.equal(written(), first, 'the store has written');
  await sleep(320);
  proof.asked();
  await sleep(100);
  t.not(written(), first);
  t.equal(statSync(path).size, 512);
});

t.test('a disk that refuses writes is not ready, and one that is full is', async (t) => {
  const stalls = new StallWatch();
  for (const [path, said] of [
    ['/nowhere/disk-proof', /does not take writes \(ENOENT/],
    ['/dev/full', undefined],
  ] as const) {
    const proof = new DiskProof(path, stalls, 0);
    const health = new QueueHealth(stalls, proof);
    health.starting = undefined;
    proof.asked();
    proof.asked();
    await sleep(100);
    t.match(health.notReady(), said, path);
    t.equal(health.notAlive(), undefined, path);
  }
});
