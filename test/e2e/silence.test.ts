// Silence while an answer is waited for is no lost link as long as the server's TCP answers: nothing of it is begun a second time. A link that is
// lost meanwhile is one.

import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { startLayby } from '../rig/layby.ts';
import { makeRoad, noRoad } from '../rig/namespaces.ts';
import { testdir } from '../rig/testdir.ts';
import { webServer } from '../rig/web-server-process.ts';
import { policyOf, untilSidecar } from './scene.ts';

t.setTimeout(180_000);

/** More than any limit that there was, ms. */
const SILENCE = 65_000;

t.test('a server that says nothing for a minute', { skip: noRoad }, async (t) => {
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const server = await webServer(t, road);
  const layby = await startLayby({
    road,
    data: join(testdir(t), 'data'),
    policy: policyOf(
      { name: 'api', url: server.url },
      { name: 'never', url: server.url, store: { mode: 'never' } },
    ),
  });
  t.teardown(async () => {
    if (!t.passing()) t.comment(layby.lines.slice(-40).join('\n'));
    await layby.kill9('all');
  });
  await untilSidecar(layby);
  const call = (url: string, options = {}) =>
    curl(url, { road, via: layby.outbound, maxTime: 100, ...options });

  await t.test('is waited for, and asked once', async (t) => {
    const calls = ['api', 'never'].flatMap((name) =>
      [
        { path: `/${name}/poll?wait=${SILENCE}`, method: 'GET' },
        { path: `/${name}/events?pause=${SILENCE}`, method: 'GET' },
        { path: `/${name}/post?wait=${SILENCE}`, method: 'POST', body: 'slow' },
        { path: `/${name}/put?wait=${SILENCE}`, method: 'PUT', body: 'slow' },
      ].map(({ path, ...options }) => ({ path, answer: call(`http://${name}.example${path}`, options) })),
    );
    for (const { path, answer } of calls) {
      const { status, body } = await answer;
      t.equal(status, 200, path);
      t.match(body.toString(), /from the cloud$/);
    }
    t.same(server.heard.map(({ url }) => url).sort(), calls.map(({ path }) => path).sort());
    t.same(await layby.queue(), []);
  });

  await t.test('a link that is lost meanwhile is seen within seconds', async (t) => {
    const before = server.heard.length;
    const post = call(`http://api.example/lost?wait=${SILENCE}`, { method: 'POST', body: 'slow' });
    await server.until(before + 1);
    const cut = blackhole(road);
    await cut.inject();
    const from = performance.now();
    t.equal((await post).status, 307);
    const took = performance.now() - from;
    t.ok(took < 6_000, `${Math.round(took)} ms`);
    await cut.clear();
    await layby.kill9('all');
  });
});
