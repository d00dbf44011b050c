// How many entries are under way to one destination at once, and what it makes of all of them being lost together.

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type ReplayScene, startReplay } from './scene.ts';

const KIB = 1024;
const dashcam = destinationOf('dashcam');

const destination = (concurrency?: number): Destination => {
  const { concurrency: _, ...replay } = dashcam.replay;
  return { ...dashcam, replay: { ...replay, ...(concurrency !== undefined && { concurrency }) } };
};

const store = async ({ store }: ReplayScene, count: number, bytes: number): Promise<void> => {
  for (let n = 0; n < count; n++)
    await put(store, Buffer.alloc(bytes), { orderKey: '', url: `http://dashcam.example/${bytes}/${n}` });
};

interface Case {
  what: string;
  concurrency?: number;
  /** Count and size of each. */
  entries: [number, number][];
  expected: number;
}

for (const { what, concurrency, entries, expected } of [
  { what: '4 large ones', entries: [[8, 512 * KIB]], expected: 4 },
  { what: '64 small ones', entries: [[70, 16 * KIB]], expected: 64 },
  { what: 'small ones of 1 MiB together', entries: [[40, 64 * KIB]], expected: 16 },
  {
    what: 'small ones beside large ones, not',
    entries: [
      [4, 512 * KIB],
      [40, KIB],
    ],
    expected: 4,
  },
  { what: 'as many as the policy says', concurrency: 2, entries: [[40, KIB]], expected: 2 },
] as Case[])
  t.test(`under way at once are ${what}`, async (t) => {
    const scene = await startReplay(t, destination(concurrency));
    const { promise: told, resolve: tell } = Promise.withResolvers<void>();
    const usual = scene.answer;
    scene.answer = async (...of) => {
      await told;
      await usual(...of);
    };
    let all = 0;
    for (const [count, bytes] of entries) {
      await store(scene, count, bytes);
      all += count;
    }
    await scene.until(() => scene.asked.length >= expected);
    await sleep(100); // That no more come cannot be awaited.
    t.equal(scene.asked.length, expected);
    tell();
    await scene.until(() => scene.asked.length === all);
  });

t.test('many that are lost together are one loss: the pause stays short', async (t) => {
  const scene = await startReplay(t, {
    ...dashcam,
    replay: { ...dashcam.replay, concurrency: 64, retry: { max: 3_600_000 } },
  });
  const usual = scene.answer;
  const { promise: lost, resolve: lose } = Promise.withResolvers<void>();
  scene.answer = async (...of) => {
    if (scene.asked.length > 64) return usual(...of);
    if (scene.asked.length === 64) lose();
    await lost;
    of[2].destroy();
  };
  await store(scene, 64, KIB);
  await lost;
  const began = performance.now();
  await scene.until(() => scene.store.totals().get('dashcam')?.entries === 0);
  t.comment(`all are there ${Math.round(performance.now() - began)} ms later`);
});
