// Services of the vehicle: real Envoys beside a caller, a stranger and the service itself. Who may call is said by certificates, and
// by nothing that the caller writes.

import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { httpServer, plane, sidecar } from './sidecar.ts';
import { MODES, nameOf } from './xds-client.ts';

t.setTimeout(180_000);

const DOMAIN = 'fleet.example';
const loopback = (port: number) => ({ host: '127.0.0.1', port });

const serviceOf = (address: string, app: number, allow: string[]) =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Service',
    metadata: { name: 'map' },
    spec: {
      hosts: ['map.vehicle'],
      node: 'map-ecu',
      address,
      app: `127.0.0.1:${app}`,
      allow,
    },
  });

async function scene(t: Test, mode = MODES[0]!, host = '127.0.0.1') {
  const dir = testdir(t);
  const seen: IncomingHttpHeaders[] = [];
  const app = await httpServer(t, (request, response) => {
    seen.push(request.headers);
    response.end('map');
  });
  const address = await freePort();
  const file = join(dir, 'policy.yaml');
  const save = (allow: string[]) => writeFile(file, serviceOf(`${host}:${address}`, app, allow));
  await save(['camera']);
  const xds = loopback(await freePort());
  const control = await plane(t, dir, xds, file, 9, { trustDomain: DOMAIN });
  const beside = (node: string) => sidecar(t, mode, dir, xds, undefined, { node, trustDomain: DOMAIN });
  const [mapEcu, camera, stranger] = [
    await beside('map-ecu'),
    await beside('camera'),
    await beside('stranger'),
  ];
  const settled = () =>
    control.until((all) => all.length === 3 && all.every(({ upToDate }) => upToDate), 'all are up to date');
  await settled();
  // A cluster whose secrets have not come yet is warming, and the calls to it are Envoy's own 503.
  for (const each of [mapEcu, camera, stranger]) while ((await each.call('map.vehicle')).status === 503);
  seen.length = 0;
  return { dir, control, mapEcu, camera, stranger, address, seen, save, settled };
}

for (const mode of MODES)
  t.test(`${nameOf(mode)}: who is allowed calls the service, and nobody else`, async (t) => {
    const { control, mapEcu, camera, stranger, address, seen, save } = await scene(t, mode);
    t.same(await camera.call('map.vehicle'), { status: 200, text: 'map' });
    t.same(
      await mapEcu.call('map.vehicle'),
      { status: 200, text: 'map' },
      'its own sidecar goes straight to it',
    );
    t.match(await stranger.call('map.vehicle'), { status: 403 });
    t.match(await camera.call('other.vehicle'), { status: 421 });
    t.equal(seen.length, 2);
    t.equal(seen[0]?.host, 'map.vehicle');
    t.match(seen[0]?.['x-forwarded-client-cert'], 'URI=spiffe://fleet.example/node/camera');
    await t.rejects(fetch(`http://127.0.0.1:${address}/`), 'without TLS nobody comes in');

    const forged = await stranger.app.request({
      path: '/',
      method: 'GET',
      headers: {
        host: 'map.vehicle',
        'x-forwarded-client-cert': 'URI=spiffe://fleet.example/node/camera',
      },
    });
    t.equal(forged.statusCode, 403, 'what the caller writes of himself counts for nothing');
    await forged.body.dump();

    await save(['spiffe://fleet.example/node/stranger']);
    while ((await stranger.call('map.vehicle')).status !== 200);
    t.match(await camera.call('map.vehicle'), { status: 403 }, 'an edit is in force for both');
    await control.close();
  });

t.test('a service is checked like a destination', async (t) => {
  const { parsePolicy } = await import('../../src/policy/parse.ts');
  const good = serviceOf('127.0.0.1:15008', 8080, ['camera']);
  const policy = parsePolicy([{ path: 'a.json', text: good }]);
  t.match(policy, { destinations: [], services: [{ name: 'map', node: 'map-ecu', allow: ['camera'] }] });
  const wrong = (from: string, to: string) => {
    try {
      parsePolicy([{ path: 'a.json', text: good.replace(from, to) }]);
      return 'taken';
    } catch (error) {
      return (error as Error).message;
    }
  };
  t.match(wrong('127.0.0.1:15008', '127.0.0.1:99999'), /spec\.address.*65535/s);
  t.match(wrong('"allow":["camera"]', '"allow":[]'), /spec\.allow/);
  t.match(wrong('"allow":["camera"]', '"alow":["camera"]'), /did you mean `allow`/);
  t.match(wrong('"kind":"Service"', '"kind":"Servise"'), /did you mean `Service`/);
  t.match(wrong('"kind":"Service"', '"kind":"Pod"'), /expected one of Destination, Service, Mesh/);
  t.match(wrong('"node":"map-ecu"', '"node":"map/ecu"'), /spec\.node/);
  const destination = good
    .replace('Service', 'Destination')
    .replace(/"node".*"allow":\["camera"\]/, '"upstream":{"url":"http://a"}')
    .replace('"map"', '"other"');
  t.throws(
    () =>
      parsePolicy([
        { path: 'a.json', text: good },
        { path: 'b.json', text: destination },
      ]),
    /the host map.vehicle is already claimed by service map at a\.json/,
  );
});

t.test('the last good policy keeps services', async (t) => {
  const { dir, control } = await scene(t);
  const kept = JSON.parse(await readFile(join(dir, 'state', 'policy.last-good.json'), 'utf8'));
  t.match(kept, { services: [{ name: 'map' }] });
  const { loadLastGood } = await import('../../src/policy/last-good.ts');
  t.match(loadLastGood(join(dir, 'state')), { services: [{ name: 'map' }] });
  await control.close();
});

t.test(
  'the address of a service may be a name: its sidecar listens at all that its machine has',
  async (t) => {
    const { camera, stranger } = await scene(t, MODES[0], 'localhost');
    t.same(await camera.call('map.vehicle'), { status: 200, text: 'map' });
    t.match(await stranger.call('map.vehicle'), { status: 403 });
  },
);
