// Sidecars of two machines, each a real Envoy: the one beside the queue on the loopback, the other over TLS, to the control plane and
// to the queue. What a certificate is not for cannot be had with it.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import t from 'tap';
import type { ClientStatus } from '../../src/control-plane/server/client.ts';
import { Authority } from '../../src/identity/authority.ts';
import { writeCredential } from '../../src/identity/files.ts';
import { partId, sidecarId } from '../../src/identity/spiffe.ts';
import { policyOf } from '../e2e/scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { httpServer, plane, sidecar } from './sidecar.ts';
import { MODES, nameOf } from './xds-client.ts';

t.setTimeout(180_000);

const DOMAIN = 'fleet.example';
const DAY = 24 * 3_600_000;
const loopback = (port: number) => ({ host: '127.0.0.1', port });

/** The certificate at the other end: its serial number, or why there is none. */
async function serialAt(port: number, certificate?: { certificate: string; key: string }): Promise<string> {
  const socket: TLSSocket = connect({
    ...loopback(port),
    rejectUnauthorized: false,
    ...(certificate && { cert: certificate.certificate, key: certificate.key }),
  });
  try {
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    // In TLS 1.3 a client hears of its refusal with the first bytes.
    socket.write('GET / HTTP/1.1\r\nhost: api.example\r\n\r\n');
    await once(socket, 'data');
    return serialNumber;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  } finally {
    socket.destroy();
  }
}

for (const mode of MODES) {
  t.test(`${nameOf(mode)}: a sidecar of another machine is configured, and stores, over TLS`, async (t) => {
    const dir = testdir(t);
    const upstream = await httpServer(t, (_, response) => response.end('upstream'));
    const queue = await httpServer(t, (_, response) => response.end('queue'));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policyOf({ name: 'api', url: `http://localhost:${upstream}` }));
    const [xds, inbound, outbound] = [await freePort(), await freePort(), await freePort()];
    const control = await plane(t, dir, loopback(xds), file, queue, {
      xdsTls: loopback(0),
      trustDomain: DOMAIN,
      certificateLife: 8000,
      expectSidecars: 2,
    });
    const { xdsTls } = control.control;
    if (!xdsTls) throw new Error('no TLS');
    await sidecar(t, mode, dir, loopback(xds), outbound, { inbound: loopback(inbound), node: 'edge' });
    await control.until(([edge]) => edge?.upToDate === true, 'the edge is up to date');

    const authority = await Authority.open(join(dir, 'state', 'identity'), DOMAIN);
    const credential = await authority.issue(sidecarId(DOMAIN, 'camera'), DAY);
    const identity = join(dir, 'camera');
    await writeCredential(identity, credential, authority.bundle);
    const camera = await sidecar(t, mode, dir, xdsTls, undefined, {
      node: 'camera',
      tls: { certificates: { dir: identity }, controlPlane: partId(DOMAIN, 'control-plane') },
      queue: { address: loopback(inbound), id: sidecarId(DOMAIN, 'edge') },
    });
    await control.until(
      (sidecars) => sidecars.length === 2 && sidecars.every(({ upToDate }) => upToDate),
      'both are up to date',
    );
    t.same(await camera.call('api.example'), { status: 200, text: 'upstream' });
    await control.link('down', 'api');
    await control.until((sidecars) => sidecars.every(({ types }) => types.runtime!.acks > 1), 'a hold');
    t.same(await camera.call('api.example'), { status: 200, text: 'queue' }, 'held: through the edge');

    t.match(await serialAt(inbound), /CERT|RESET/, 'nobody else reaches the queue');
    const stranger = await (await Authority.open(join(dir, 'other'), DOMAIN)).issue(
      sidecarId(DOMAIN, 'x'),
      DAY,
    );
    t.match(
      await serialAt(inbound, stranger),
      /ALERT|CA|RESET/,
      'of another authority: nor who says he is of it',
    );

    const secretAcksOf = (sidecars: ClientStatus[]) =>
      sidecars.find(({ id }) => id === 'edge')!.types.secret!.acks;
    const secretAcks = async () => secretAcksOf((await control.status()).sidecars);
    const first = await serialAt(inbound, credential);
    t.match(first, /^[0-9A-F]+$/);
    let renewed = first;
    for (let acks = await secretAcks(); renewed === first; renewed = await serialAt(inbound, credential)) {
      const before = acks;
      await control.until((sidecars) => secretAcksOf(sidecars) > before, 'a newer certificate');
      acks = await secretAcks();
      t.same(await camera.call('api.example'), { status: 200, text: 'queue' });
    }
    t.match(renewed, /^[0-9A-F]+$/, 'renewed, and no call failed');
    await control.close();
  });
}

t.test('a certificate is good for its own node, and for nothing else', async (t) => {
  const dir = testdir(t);
  const file = join(dir, 'policy.yaml');
  await writeFile(file, policyOf({ name: 'api', url: 'http://127.0.0.1:9' }));
  const control = await plane(t, dir, loopback(await freePort()), file, 9, {
    xdsTls: loopback(0),
    trustDomain: DOMAIN,
  });
  const { xdsTls } = control.control;
  if (!xdsTls) throw new Error('no TLS');
  const authority = await Authority.open(join(dir, 'state', 'identity'), DOMAIN);
  const identity = join(dir, 'camera');
  await writeCredential(identity, await authority.issue(sidecarId(DOMAIN, 'camera'), DAY), authority.bundle);
  const tls = { certificates: { dir: identity }, controlPlane: partId(DOMAIN, 'control-plane') };
  const liar = await sidecar(t, MODES[0]!, dir, xdsTls, undefined, { node: 'edge', tls });
  const fooled = await sidecar(t, MODES[0]!, dir, xdsTls, undefined, {
    node: 'camera',
    tls: { ...tls, controlPlane: partId(DOMAIN, 'queue') },
  });
  const honest = await sidecar(t, MODES[0]!, dir, xdsTls, undefined, { node: 'camera', tls });
  await control.until(([one]) => one?.id === 'camera' && one.upToDate, 'the honest one is configured');
  const updates = /^cluster_manager\.cds\.update_success$/;
  t.equal((await honest.stats(updates)).get('cluster_manager.cds.update_success'), 1);
  for (const [who, { stats }] of Object.entries({ liar, fooled })) {
    t.equal((await stats(updates)).get('cluster_manager.cds.update_success'), 0, who);
  }
  t.equal((await control.status()).sidecars.length, 1);
  await control.close();
});
