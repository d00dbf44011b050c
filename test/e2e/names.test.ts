// Names of upstreams, as networks answer for them: with IPv6 addresses that nothing gets to, and with nameservers that come and go with
// the network.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { blackhole } from '../rig/faults/blackhole.ts';
import { DEVICE, noRoad, type Road } from '../rig/namespaces.ts';
import { run } from '../rig/run.ts';
import { makeScene } from './scene.ts';

t.setTimeout(120_000);

/** Of documentation (RFC 3849): nobody answers. */
const SILENT = '2001:db8::1';

/** Datagrams that have come to the cloud: nothing but questions. */
const questions = async ({ cloud }: Road): Promise<number> => {
  const lines = await run(['ip', 'netns', 'exec', cloud.name, 'grep', 'Udp:', '/proc/net/snmp']);
  return Number(lines.split('\n')[1]!.split(' ')[1]);
};

t.test('an upstream is reached by whichever of its addresses answers', { skip: noRoad }, async (t) => {
  const { road, oracle, layby, call } = await makeScene(t, {
    before: async (road) => {
      await road.resolver({ 'dual.example': `${SILENT},${road.cloud.address}` });
      const ip = (...args: string[]) => run(['ip', '-n', road.vehicle.name, '-6', ...args]);
      await ip('addr', 'add', '2001:db8:0:1::5/64', 'dev', DEVICE, 'nodad');
      // A neighbour that takes all, and says nothing.
      await ip(
        'neigh',
        'add',
        '2001:db8:0:1::1',
        'lladdr',
        '02:00:00:00:00:01',
        'dev',
        DEVICE,
        'nud',
        'permanent',
      );
      await ip('route', 'add', 'default', 'via', '2001:db8:0:1::1', 'dev', DEVICE);
    },
    destinations: (oracle) => [{ name: 'api', url: `http://dual.example:${new URL(oracle.url).port}` }],
  });
  const put = (name: string) => call(`http://api.example/${name}`, { method: 'PUT', body: name });
  t.equal((await put('a')).status, 200);
  t.equal((await put('b')).status, 200);
  const asked = await questions(road);
  await sleep(11_000);
  t.ok((await questions(road)) - asked <= 2, 'the name is not asked for again while its answer is good');
  const fault = blackhole(road);
  await fault.inject();
  t.equal((await put('c')).status, 307);
  await fault.clear();
  await layby.untilQueue((lines) => lines.length === 0);
  t.match(await oracle.until((arrivals) => arrivals.length === 3), { length: 3 });
  // The sidecar leaves what it has lost alone for a moment.
  while ((await put('d')).status !== 200) await sleep(200);
});

t.test(
  'a network with other nameservers is asked, however long the last one is gone',
  { skip: noRoad },
  async (t) => {
    const { road, oracle, dir, call } = await makeScene(t, {
      before: async (road) => {
        await road.resolver({ 'known.example': road.cloud.address, 'passed.example': road.cloud.address });
        await road.nameserver('192.0.2.53'); // of the network before: the packets are lost
      },
      destinations: (oracle) => [{ name: 'api', url: `http://known.example:${new URL(oracle.url).port}` }],
    });
    const file = join(dir, 'data.policy.yaml');
    const mesh = { kind: 'Mesh', metadata: { name: 'mesh' }, spec: { passthrough: 'allow' } };
    const document = JSON.stringify({ apiVersion: 'layby.dev/v1alpha1', ...mesh });
    await writeFile(file, `${document}\n---\n${await readFile(file, 'utf8')}`);
    const passed = async () => (await call(`http://passed.example:${new URL(oracle.url).port}/b`)).status;
    t.equal((await call('http://api.example/a', { method: 'PUT', body: 'a' })).status, 307);
    while ((await passed()) === 421);
    t.equal(await passed(), 503);
    await road.nameserver(road.cloud.address);
    const began = performance.now();
    await oracle.until((arrivals) => arrivals.some(({ path }) => path === '/a'), 45_000);
    t.comment(`the queue: ${Math.round(performance.now() - began)} ms after the change`);
    while ((await passed()) !== 200 && performance.now() - began < 45_000) await sleep(500);
    t.comment(`passthrough: ${Math.round(performance.now() - began)} ms after the change`);
    t.equal(await passed(), 200);
  },
);
