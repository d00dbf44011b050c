// When the link is back nothing waits out a pause: the first byte leaves at once, however long the cut was, and also where a try was
// under way when the link was lost.

import { randomFillSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene, untilDrained } from './scene.ts';

t.setTimeout(120_000);

t.test('the first byte leaves within 200 ms of the link', { skip: noRoad }, async (t) => {
  const scene = await makeScene(t, {
    destinations: (oracle) => [
      { name: 'api', url: oracle.url, store: { mode: 'always' }, replay: { retry: { max: '5m' } } },
      { name: 'big', url: oracle.url, store: { mode: 'always' }, replay: { rate: '8Mbit/s' } },
    ],
  });
  const { road, oracle, call, layby } = scene;
  const cut = interfaceDown(road);
  t.teardown(() => cut.clear());
  // Connections that are open and idle, and one that is in the middle of a body, when the link goes.
  await call('http://api.example/warm', { method: 'PUT', body: 'warm' });
  await oracle.until((all) => all.some(({ path }) => path === '/warm'));
  await call('http://big.example/large', { method: 'PUT', body: randomFillSync(Buffer.alloc(8_000_000)) });
  await sleep(1_500);
  await cut.inject();
  await layby.untilLine((line) => /"destination":"api".*"to":"held"/.test(line));
  t.equal((await call('http://api.example/first', { method: 'PUT', body: 'x' })).status, 307);
  await sleep(6_000); // The pauses of what fails grow meanwhile.
  const seen = new Set((await oracle.requests()).map(({ path }) => path));
  t.notOk(seen.has('/first'));
  await cut.clear();
  const back = Date.now();
  await oracle.until((all) => all.some(({ path }) => path === '/first'));
  const took = Date.now() - back;
  t.comment(`${took} ms after the interface was up again`);
  t.ok(took < 200, `${took} ms`);
  await untilDrained(layby);
});
