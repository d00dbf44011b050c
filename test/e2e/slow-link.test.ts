// A slow link and a fast app: without patience the link slows the app, with it the app is done at once and the same upload goes on
// behind. Either way the body is sent once, and memory does not grow with it (law 8).

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { rate } from '../rig/faults/rate.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene, outcomesAtTheQueue, randomFile, untilDrained } from './scene.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;
const BODY = 48 * MIB;
/** Of anonymous memory, on top of what the queue had: less than the body. */
const BOUND = 40 * MIB;
/** The body takes seven seconds. */
const MBIT = 60;

const rssAnon = (pid: number): number =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

t.test('a slow link', { skip: noRoad }, async (t) => {
  const { call, oracle, layby, road, dir } = await makeScene(t, {
    destinations: ({ url }) => [
      { name: 'waits', url },
      { name: 'patient', url, store: { patience: '100ms' } },
    ],
  });
  const warm = await randomFile(dir, 'warm', 4 * MIB);
  for (const host of ['waits', 'patient'])
    await call(`http://${host}.example/warm`, { body: { file: warm.path }, headers: ['Expect:'] });
  await untilDrained(layby);
  const slow = rate(road, { up: MBIT });
  await slow.inject();
  t.teardown(() => slow.clear());
  const body = await randomFile(dir, 'body', BODY);
  const pid = layby.pidOf('queue');

  for (const [host, status] of [
    ['waits', 200],
    ['patient', 307],
  ] as const)
    await t.test(host, async (t) => {
      const base = rssAnon(pid);
      let peak = base;
      const over = new AbortController();
      const sampling = (async () => {
        while (!over.signal.aborted) {
          peak = Math.max(peak, rssAnon(pid));
          await sleep(10); // The kernel does not tell: a sample is all there is.
        }
      })();
      const answer = await call(`http://${host}.example/${host}`, {
        body: { file: body.path },
        headers: ['Expect:'],
      });
      t.equal(answer.status, status);
      if (status === 307) t.equal((await layby.queue())[0]?.state, 'sending', 'the upload goes on');
      const arrived = (
        await oracle.until((arrivals) =>
          arrivals.some(({ bytes, path }) => bytes === BODY && path === `/${host}`),
        )
      ).filter(({ path }) => path === `/${host}`);
      await untilDrained(layby);
      over.abort();
      await sampling;
      const seconds = answer.ms / 1000;
      t.comment(
        `${host}: the app was done after ${seconds.toFixed(1)} s, ${Math.round((peak - base) / MIB)} MiB`,
      );
      t.ok(
        status === 307 ? seconds < 5 : seconds > 5,
        'the app is as slow as the link, or as fast as the disk',
      );
      t.ok(peak - base < BOUND, `${peak - base} bytes`);
      t.equal(arrived.filter(({ sha256 }) => sha256 === body.sha256).length, 1);
      t.equal(arrived.filter(({ torn }) => torn).length, 0, 'and nothing was sent twice');
    });
  t.notOk('failed' in (await outcomesAtTheQueue(layby)));
});
