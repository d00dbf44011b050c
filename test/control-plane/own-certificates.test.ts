// Sidecars that bring their own certificates, of an authority that the control plane knows nothing of: from files, and from an agent of
// SPIRE. The agent here is our own discovery server with SPIRE's names on its secrets: the real one takes half an hour to build. With
// SPIRE 1.13.0 it was done once by hand: the same, and a certificate of its authority with another id was not taken.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { Authority, type Credential } from '../../src/identity/authority.ts';
import { writeCredential } from '../../src/identity/files.ts';
import { sidecarId } from '../../src/identity/spiffe.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { httpServer, plane, sidecar } from './sidecar.ts';
import { MODES, serving } from './xds-client.ts';

t.setTimeout(120_000);

const DOMAIN = 'fleet.example';
const DAY = 24 * 3_600_000;
const loopback = (port: number) => ({ host: '127.0.0.1', port });

t.test("with certificates of their own, from files and from SPIRE's agent, sidecars meet", async (t) => {
  const dir = testdir(t);
  const authority = await Authority.open(join(dir, 'own'), DOMAIN);
  const issue = (node: string): Promise<Credential> => authority.issue(sidecarId(DOMAIN, node), DAY);

  const certificates = join(dir, 'map-ecu');
  await writeCredential(certificates, await issue('map-ecu'), authority.bundle);
  const agent = await serving(t);
  const hand = (version: string, { certificate, key }: Credential): void => {
    agent.shelf.put('secret', 'ROOTCA', version, {
      validation_context: { trusted_ca: { inline_string: authority.bundle } },
    });
    agent.shelf.put('secret', 'default', version, {
      tls_certificate: {
        certificate_chain: { inline_string: certificate },
        private_key: { inline_string: key },
      },
    });
    agent.push();
  };
  hand('1', await issue('camera'));

  const callers: (string | string[] | undefined)[] = [];
  const app = await httpServer(t, (request, response) => {
    callers.push(request.headers['x-forwarded-client-cert']);
    response.end('map');
  });
  const address = await freePort();
  const file = join(dir, 'policy.json');
  const spec = {
    hosts: ['map.vehicle'],
    node: 'map-ecu',
    address: `127.0.0.1:${address}`,
    allow: ['camera'],
  };
  await writeFile(
    file,
    JSON.stringify({
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Service', metadata: { name: 'map' } },
      spec: { ...spec, app: `127.0.0.1:${app}` },
    }),
  );
  const xds = loopback(await freePort());
  const control = await plane(t, dir, xds, file, 9, { trustDomain: DOMAIN });
  const start = (node: string, more = {}) =>
    sidecar(t, MODES[2]!, dir, xds, undefined, { node, trustDomain: DOMAIN, ...more });
  await start('map-ecu', { certificates: { dir: certificates } });
  const [host, port] = agent.target.split(':');
  const camera = await start('camera', {
    certificates: 'spire',
    spire: { host: host!, port: Number(port) },
  });
  const stranger = await start('stranger');
  await control.until((all) => all.length === 3 && all.every(({ upToDate }) => upToDate));
  // A cluster whose secrets have not come yet is warming, and the calls to it are Envoy's own 503.
  while ((await camera.call('map.vehicle')).status === 503);
  t.same(await camera.call('map.vehicle'), { status: 200, text: 'map' });
  t.match(callers[0], /URI=spiffe:\/\/fleet.example\/node\/camera/);
  t.match(await stranger.call('map.vehicle'), { status: 503 }, 'the two authorities do not know each other');

  const serial = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ ...loopback(address), rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  const before = await serial();
  await writeCredential(certificates, await issue('map-ecu'), authority.bundle);
  while ((await serial()) === before);
  const taken = async () => [...(await camera.stats(/ssl_context_update_by_sds$/)).values()][0]!;
  const first = await taken();
  hand('2', await issue('camera'));
  while ((await taken()) === first);
  t.same(await camera.call('map.vehicle'), { status: 200, text: 'map' }, 'renewed, and no call fails');
  await control.close();
});
