// When the link is back nothing waits out a pause: the first byte leaves at once, however long the cut was, and also where a try was
// under way when the link was lost.

import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { startLayby } from '../rig/layby.ts';
import { noRoad } from '../rig/namespaces.ts';
import { testdir } from '../rig/testdir.ts';
import { makeScene, policyOf, untilDrained } from './scene.ts';

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

t.test('when the link is back nothing is sent on a connection of before', async (t) => {
  const ports: (number | undefined)[] = [];
  const own: string[] = [];
  const server = createServer((request, response) => {
    ports.push(request.socket.remotePort);
    own.push(...Object.keys(request.headers).filter((name) => name.startsWith('layby-')));
    request.resume().on('end', () => response.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const layby = await startLayby({
    data: join(testdir(t), 'data'),
    policy: policyOf({ name: 'api', url, store: { mode: 'always' } }),
  });
  t.teardown(() => layby.kill9('all'));
  const call = async (): Promise<void> => {
    const options = { method: 'PUT', via: layby.outbound, body: 'x', maxTime: 20 };
    t.equal((await curl('http://api.example/a', options)).status, 307);
  };
  for (const _ of [1, 2]) {
    await call();
    await untilDrained(layby);
  }
  await layby.link('down');
  await call();
  await layby.link('auto');
  await untilDrained(layby);
  await call();
  await untilDrained(layby);
  t.equal(ports[1], ports[0], 'while the link stays a connection serves many');
  t.not(ports[2], ports[1], 'what waited has a new one');
  t.equal(ports[3], ports[2], 'which serves many again');
  t.same(own, [], 'and the destination hears nothing of it');
});
