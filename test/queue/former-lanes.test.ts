// Law 3 over a change of policy: what is stored for the destination that served a host before goes before what comes for the one that serves
// it now. On a real queue, with a destination in the place of the egress listener.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

t.setTimeout(120_000); // a slow machine is no failure

const named = (name: string, hosts: string[], store: Partial<Destination['store']> = {}): Destination => ({
  ...destinationOf(name, { mode: 'failover', order: 'key', ...store }),
  hosts,
});

interface LaneView {
  destination: string;
  pending: boolean;
  former: string[];
  entries: number;
}

const begin = async (t: Test, before: Destination[], dir = testdir(t)) => {
  const use = await scene(dir, before);
  t.teardown(() => use.stop());
  const lane = async (name: string): Promise<LaneView | undefined> =>
    (JSON.parse((await use.admin('/v1/queue/status')).text).lanes as LaneView[]).find(
      ({ destination }) => destination === name,
    );
  return {
    ...use,
    lane,
    put: (path: string, body: string, host = 'cam.example') =>
      use.call('PUT', path, Buffer.from(body), { host }),
    bodies: () => use.sent.map(({ path, body }) => `${path} ${body}`),
    move: (from: string, to: string) =>
      use.act('/v1/queue/move', { select: { destination: from }, to, by: 'alice' }),
    drop: (destination: string) => use.act('/v1/queue/drop', { select: { destination }, by: 'alice' }),
    why: async (id: unknown): Promise<string> =>
      JSON.parse((await use.admin(`/v1/queue/entries/${id}/why`)).text).why.join('\n'),
    /** Resolves when the lane of the new destination is known to be behind the others, and behind no others. */
    behind: async (name: string, former: string[]): Promise<void> => {
      while ((await lane(name))?.former.join() !== former.join());
    },
  };
};

t.test('a renamed destination sends nothing past what is stored under its old name', async (t) => {
  const use = await begin(t, [named('dashcam', ['cam.example'])]);
  const { headers } = await use.put('/a', 'one');
  t.ok(headers['layby-entry']);
  await use.restart([named('camera', ['cam.example'])]);
  use.link.up = true;
  const two = await use.put('/a', 'two');
  t.equal(two.status, 307, 'stored, behind what is stored for its resource');
  t.equal((await use.put('/b', 'free')).status, 200, 'nothing older of its resource: straight on');
  const read = await use.call('GET', '/a', undefined, { host: 'cam.example' });
  t.equal(read.text, 'two', 'an app reads what it wrote');
  t.match(await use.lane('camera'), { pending: true, former: ['dashcam'], entries: 1 });
  t.match(
    await use.why(two.headers['layby-entry']),
    new RegExp(
      `^${headers['layby-entry']} is older.*stored for dashcam,.* .layby queue move --from dashcam --to camera`,
    ),
  );
  const stored = { host: 'cam.example', prefer: 'respond-async' };
  t.equal((await use.call('PUT', '/c', Buffer.from('three'), stored)).status, 202);
  await use.until(() => use.sent.length === 2);
  t.same(use.bodies(), ['/b free', '/c three'], 'replay has passed over what is older, and may not go');
  t.equal((await use.move('dashcam', 'camera')).status, 200);
  await use.until(() => use.sent.length === 4);
  t.same(use.bodies().slice(2), ['/a one', '/a two']);
});

t.test('what is dropped of the old name lets the rest go, and the hold ends', async (t) => {
  const others = [named('other', ['other.example'])];
  const use = await begin(t, [named('dashcam', ['cam.example']), ...others]);
  await use.put('/a', 'one');
  await use.restart([named('camera', ['cam.example']), ...others]);
  use.link.up = true;
  await use.behind('camera', ['dashcam']);
  await use.put('/a', 'two');
  t.equal((await use.put('/a', 'x', 'other.example')).status, 200, 'another destination is not concerned');
  await use.drop('dashcam');
  await use.until(() => use.sent.length === 2);
  t.same(use.bodies(), ['/a x', '/a two']);
  while ((await use.lane('camera'))?.pending);
  t.match(await use.lane('camera'), { former: [], entries: 0 });
});

t.test('order strict waits for all that is older, and order none for nothing', async (t) => {
  const use = await begin(t, [named('dashcam', ['strict.example', 'none.example'])]);
  await use.put('/a', 'one', 'strict.example');
  await use.put('/a', 'one', 'none.example');
  await use.restart([
    named('strict', ['strict.example'], { order: 'strict' }),
    named('none', ['none.example'], { order: 'none' }),
  ]);
  use.link.up = true;
  t.equal((await use.put('/b', 'two', 'strict.example')).status, 307);
  t.equal((await use.put('/a', 'two', 'none.example')).status, 200);
  await use.move('dashcam', 'strict');
  await use.until(() => use.sent.length === 3);
  t.same(use.bodies(), ['/a two', '/a one', '/b two']);
});

t.test(
  'a damaged file of the lanes that have lost a host costs a look at the entries, and no order',
  async (t) => {
    const camera = named('camera', ['cam.example']);
    const before = [named('api', ['api.example', 'cam.example'])];
    const dir = testdir(t);
    const use = await begin(t, before, dir);
    await use.put('/a', 'one');
    await use.repolicy([named('api', ['api.example']), camera]);
    const file = join(dir, 'former-lanes.json');
    t.match(readFileSync(file, 'utf8'), /"api"/);
    for (const damage of ['', '[]', readFileSync(file, 'utf8').replace('"api"', '"apj"')]) {
      writeFileSync(file, damage);
      await use.restart();
      await use.behind('camera', ['api']);
    }
    use.link.refuses = (incoming) => incoming.headers['layby-destination'] === 'api';
    use.link.up = true;
    t.equal((await use.put('/a', 'two')).status, 307);
    t.equal((await use.put('/b', 'free')).status, 200, 'what is stored has been read');
    use.link.refuses = () => false;
    await use.until(() => use.sent.length === 3);
    t.same(use.bodies(), ['/b free', '/a one', '/a two']);
  },
);

t.test('a host that goes to another destination keeps its order, also after a restart', async (t) => {
  const camera = named('camera', ['cam.example']);
  const use = await begin(t, [named('api', ['api.example', 'cam.example'])]);
  await use.put('/a', 'one');
  await use.repolicy([named('api', ['api.example']), camera]);
  await use.put('/a', 'two');
  await use.restart();
  await use.behind('camera', ['api']);
  use.link.refuses = (incoming) => incoming.headers['layby-destination'] === 'api';
  use.link.up = true;
  t.equal((await use.put('/b', 'free')).status, 200);
  t.same(use.bodies(), ['/b free']);
  use.link.refuses = () => false;
  await use.until(() => use.sent.length === 3);
  t.same(
    use.bodies(),
    ['/b free', '/a one', '/a two'],
    'it drains by itself: its destination is still there',
  );
});

t.test('a destination that comes back sends what was stored for it', async (t) => {
  const [dashcam, camera] = [named('dashcam', ['cam.example']), named('camera', ['cam.example'])];
  const use = await begin(t, [dashcam]);
  await use.put('/a', 'one');
  await use.restart([camera]);
  await use.put('/a', 'two');
  await use.restart([dashcam]);
  await use.put('/a', 'three');
  use.link.up = true;
  await use.until(() => use.sent.length === 1);
  t.same(use.bodies(), ['/a one'], 'and not what is behind the entry of the other name');
  await use.move('camera', 'dashcam');
  await use.until(() => use.sent.length === 3);
  t.same(use.bodies(), ['/a one', '/a two', '/a three']);
});

t.test(
  'a long lane is moved while its destination is being sent to, and all of it arrives in order',
  async (t) => {
    const COUNT = 400;
    const use = await begin(t, [named('dashcam', ['cam.example'])]);
    for (let i = 0; i < COUNT; i++) await use.put(`/${i % 3}`, String(i));
    await use.restart([named('camera', ['cam.example'])]);
    use.link.up = true;
    await use.behind('camera', ['dashcam']);
    const newer = async (): Promise<void> => {
      for (let i = COUNT; i < COUNT + 60; i++) await use.put(`/${i % 3}`, String(i));
    };
    await Promise.all([newer(), use.move('dashcam', 'camera')]);
    await use.until(() => use.sent.length >= COUNT + 60);
    for (const path of ['/0', '/1', '/2']) {
      const numbers = use.sent.filter((one) => one.path === path).map(({ body }) => Number(String(body)));
      t.same(
        numbers,
        numbers.toSorted((a, b) => a - b),
        path,
      );
    }
    t.equal(use.sent.length, COUNT + 60, 'each once');
  },
);

t.test('orphaned entries are counted in the metrics', async (t) => {
  const others = [named('other', ['other.example'])];
  const use = await begin(t, [named('dashcam', ['cam.example']), ...others]);
  await use.put('/a', 'one');
  await use.put('/b', 'two');
  t.notMatch((await use.admin('/metrics')).text, /layby_orphaned_entries\{/);
  await use.restart(others);
  t.match((await use.admin('/metrics')).text, /layby_orphaned_entries\{destination="dashcam"\} 2/);
});
