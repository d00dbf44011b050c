// A destination that answers, but does not take: what else is sent meanwhile, how often it is asked, and how soon it has everything again.

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type ReplayScene, read, startReplay } from './scene.ts';

const api = {
  ...destinationOf('dashcam'),
  replay: { resume: 'none' as const, retry: { max: 30_000 } },
};

const store = async ({ store }: ReplayScene, path: string, count: number, cls = 1): Promise<void> => {
  for (let n = 0; n < count; n++) {
    const url = `http://dashcam.example/${path}/${n}`;
    await put(store, 'x', { url, orderKey: url, class: cls });
  }
};

/** Refuses what is below /bad with this status. */
const refusing = (scene: ReplayScene, status: () => number): void => {
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    response.writeHead(asked.path.startsWith('/bad') ? status() : 200).end();
  };
};

for (const status of [401, 503])
  t.test(`300 entries that are refused with ${status} do not hide what is behind them`, async (t) => {
    const scene = await startReplay(t, api);
    refusing(scene, () => status);
    await store(scene, 'bad', 300);
    await store(scene, 'good', 1, 2);
    await scene.until(() => scene.asked.some(({ path }) => path === '/good/0'));
    t.ok(scene.asked.length < 700, `${scene.asked.length} requests`);
  });

t.test(
  'a destination that refuses 300 small entries is asked less and less, and has them soon afterwards',
  async (t) => {
    const scene = await startReplay(t, api);
    let status = 503;
    refusing(scene, () => status);
    await store(scene, 'bad', 300);
    await scene.until(() => new Set(scene.asked.map(({ path }) => path)).size === 300);
    const first = scene.asked.length;
    await sleep(3_000); // How often it is asked takes a time to be seen.
    const meanwhile = scene.asked.length - first;
    t.ok(first < 400, `${first} requests until each had been asked for`);
    t.ok(meanwhile < 40, `${meanwhile} requests in the three seconds after that`);
    status = 200;
    scene.replay.link('dashcam', { up: false, by: 'kernel', since: 0 });
    scene.replay.link('dashcam', { up: true, by: 'kernel', since: 0 });
    await scene.until(() => (scene.store.totals().get('dashcam')?.entries ?? 0) === 0);
    t.ok(scene.asked.length - first - meanwhile < 330);
  },
);
