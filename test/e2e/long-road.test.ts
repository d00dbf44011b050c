// A round trip of a second, as over a satellite or a poor cell: connections take seconds, TLS most of all, and still the link is there.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { writeCertificate } from '../rig/certificate.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { startLayby } from '../rig/layby.ts';
import { makeRoad, noDelay } from '../rig/namespaces.ts';
import { testdir } from '../rig/testdir.ts';
import { webServer } from '../rig/web-server-process.ts';
import { policyOf, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(180_000);

/** ms, one way. */
const DELAY = 500;

t.test('a second of round trip', { skip: noDelay }, async (t) => {
  const dir = testdir(t);
  const road = await makeRoad({ delay: DELAY });
  t.teardown(() => road.remove());
  await writeCertificate(dir, road.cloud.address);
  const server = await webServer(t, road, { tls: dir });
  const layby = await startLayby({
    road,
    data: join(dir, 'data'),
    policy: policyOf(
      { name: 'api', url: server.url },
      { name: 'stored', url: server.url, store: { mode: 'always' } },
    ),
    env: { SSL_CERT_FILE: join(dir, 'tls.crt') },
  });
  t.teardown(async () => {
    if (!t.passing()) t.comment(layby.lines.slice(-40).join('\n'));
    await layby.kill9('all');
  });
  await untilSidecar(layby);
  const call = (url: string, options = {}) =>
    curl(url, { road, via: layby.outbound, maxTime: 60, ...options });

  await t.test('a call over TLS goes direct, the first one and those after it', async (t) => {
    for (const path of ['first', 'second'])
      t.match(await call(`http://api.example/${path}`), { status: 200 }, path);
    t.match(await call('http://api.example/put', { method: 'PUT', body: 'x' }), { status: 200 });
    t.same(await layby.queue(), []);
  });

  await t.test('a slow answer is waited for', async (t) => {
    t.match(await call('http://api.example/slow?wait=9000'), { status: 200 });
  });

  await t.test('what is stored is delivered', async (t) => {
    const before = server.heard.length;
    t.match(await call('http://stored.example/x', { method: 'PUT', body: randomBytes(100) }), {
      status: 307,
    });
    await untilDrained(layby);
    t.match(server.heard.slice(before), [{ method: 'PUT', url: '/x', bytes: 100 }]);
  });

  await t.test('and a lost link is still one within seconds', async (t) => {
    const cut = blackhole(road);
    await cut.inject();
    const { status, ms } = await call('http://api.example/lost', { method: 'PUT', body: 'x' });
    t.equal(status, 307);
    // The first retransmission waits for round trips, and then TCP_USER_TIMEOUT begins.
    t.ok(ms < 15_000, `${Math.round(ms)} ms`);
    await cut.clear();
    await untilDrained(layby);
    t.match(server.heard.at(-1), { url: '/lost' });
  });
});
