// Entries that come back, and destinations that do, while the lane is read and attempts are under way.

import t from 'tap';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { read, startReplay } from './scene.ts';

const dashcam = destinationOf('dashcam');
const KEY = 'dashcam.example/k';

for (let round = 1; round <= 8; round++)
  t.test(
    `a dead letter that is retried while others are committed costs no entry its place, round ${round}`,
    async (t) => {
      const scene = await startReplay(t, dashcam);
      let status = 404;
      const order: string[] = [];
      scene.answer = async (asked, request, response) => {
        await read(asked, request);
        if (status === 200) order.push(asked.path);
        response.writeHead(asked.path === '/k?0' ? status : 200).end();
      };
      const url = (n: number): string => `http://dashcam.example/k?${n}`;
      const dead = await put(scene.store, 'x', { url: url(0), orderKey: KEY });
      await scene.until(() => scene.store.totals().get('dashcam')?.dead === 1);
      scene.replay.link('dashcam', { up: false, by: 'override', since: 0 });
      for (let n = 1; n <= 60; n++) await put(scene.store, 'x', { url: url(n), orderKey: KEY });
      status = 200;
      scene.replay.link('dashcam', { up: true, by: 'override', since: 0 });
      await Promise.all([
        scene.store.retry(dead.id),
        ...[61, 62, 63].map((n) => put(scene.store, 'x', { url: url(n), orderKey: KEY })),
      ]);
      await scene.until(() => (scene.store.totals().get('dashcam')?.entries ?? 0) === 0);
      t.equal(order.length, 64);
      const numbers = order.filter((path) => path !== '/k?0').map((path) => Number(path.split('?')[1]));
      t.same(
        numbers.slice(0, 60),
        Array.from({ length: 60 }, (_, n) => n + 1),
      );
    },
  );

t.test('a destination that is removed and added again while an attempt hangs keeps its order', async (t) => {
  const scene = await startReplay(t, dashcam);
  const { promise: go, resolve: letGo } = Promise.withResolvers<void>();
  const { promise: hangs, resolve: hang } = Promise.withResolvers<void>();
  const done: string[] = [];
  let hung = 0;
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    if (asked.path === '/k?1' && hung++ === 0) {
      hang();
      await go;
    }
    if (response.destroyed) return;
    done.push(asked.path);
    response.end();
  };
  await put(scene.store, 'x', { url: 'http://dashcam.example/k?1', orderKey: KEY });
  await hangs;
  await put(scene.store, 'y', { url: 'http://dashcam.example/k?2', orderKey: KEY });
  scene.policy();
  scene.policy(dashcam);
  await scene.until(() => (scene.store.totals().get('dashcam')?.entries ?? 0) === 0);
  t.same(done, ['/k?1', '/k?2']);
  letGo();
});
