// A real Envoy in each mode of xDS: it becomes ready, takes a hold and an edit of the policy without a failed request, and does not
// notice a restart of the control plane.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Pool } from 'undici';
import { policyOf } from '../e2e/scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { httpServer, plane, sidecar } from './sidecar.ts';
import { MODES, nameOf } from './xds-client.ts';

t.setTimeout(120_000);

/** What Envoy counts when something of its configuration has moved, or a connection was closed for it. */
const MOVED =
  /^(cluster_manager\.(cluster_(added|modified|removed))|listener_manager\.(listener_(added|modified|removed|stopped)|total_listeners_draining)|http\.outbound\.(rds\.outbound\.config_reload|downstream_cx_(total|destroy|drain_close))|listener\.127.*\.downstream_cx_(total|destroy))$/;

const REJECTED = /(update_rejected|init_fetch_timeout)$/;

t.test('a destination may be named as a part of Layby is', async (t) => {
  const dir = testdir(t);
  const upstream = await httpServer(t, (_, response) => response.end('upstream'));
  const file = join(dir, 'policy.yaml');
  const xds = { host: '127.0.0.1', port: await freePort() };
  const names = ['queue', 'layby', 'unnamed', 'outbound', 'egress', 'holds', 'passthrough'];
  await writeFile(file, policyOf(...names.map((name) => ({ name, url: `http://127.0.0.1:${upstream}` }))));
  const control = await plane(t, dir, xds, file, 9);
  const { call } = await sidecar(t, MODES[0]!, dir, xds);
  await control.until(([one]) => one?.upToDate === true, 'the sidecar takes it');
  for (const name of names) t.same(await call(`${name}.example`), { status: 200, text: 'upstream' }, name);
  t.same(await call('other.example').then(({ status }) => status), 421);
});

for (const mode of MODES) {
  t.test(`${nameOf(mode)}: what Envoy refuses is known in its words, and is not sent again`, async (t) => {
    const dir = testdir(t);
    const file = join(dir, 'policy.yaml');
    const xds = { host: '127.0.0.1', port: await freePort() };
    await writeFile(file, policyOf({ name: 'api', url: 'http://127.0.0.1:9' }));
    const control = await plane(t, dir, xds, file, 9);
    const taken = await httpServer(t, (_, response) => response.end());
    await sidecar(t, mode, dir, xds, taken);
    const [status] = await control.until((sidecars) => Boolean(sidecars[0]?.types.listener?.nack), 'a NACK');
    t.match(status!.types.listener!.nack, { message: /outbound.*[Aa]ddress already in use/s });
    t.notOk(status!.upToDate);
    const before = await control.sent();
    // What is sent in the meantime makes a round trip, and nothing else goes out.
    await control.link('down', 'api');
    const [after] = await control.until(([one]) => one!.types.runtime!.acks > 1, 'a hold is taken');
    t.same({ ...(await control.sent()), runtime: 0 }, { ...before, runtime: 0 });
    t.match(after!.types.listener, { nacks: 1 });
    // Before the directory goes: it keeps the operator's word after it has answered.
    await control.close();
  });

  t.test(nameOf(mode), async (t) => {
    const dir = testdir(t);
    const upstream = await httpServer(t, (_, response) => response.end('upstream'));
    const queue = await httpServer(t, (_, response) => response.end('queue'));
    const file = join(dir, 'policy.yaml');
    const xds = { host: '127.0.0.1', port: await freePort() };
    const url = `http://localhost:${upstream}`;
    await writeFile(file, policyOf({ name: 'api', url }, { name: 'old', url }));

    let control = await plane(t, dir, xds, file, queue);
    const { call, outbound, stats } = await sidecar(t, mode, dir, xds);
    const ready = () =>
      control.until((sidecars) => sidecars.length === 1 && sidecars[0]!.upToDate, 'a sidecar is up to date');
    const [status] = await ready();
    t.equal(status!.transport, `${mode.aggregated ? 'aggregated' : 'separate'} ${mode.variant}`);
    t.same(Object.keys(status!.types).sort(), ['cluster', 'listener', 'route', 'runtime']);
    t.same(await call('api.example'), { status: 200, text: 'upstream' });

    await t.test('it takes a hold, which is all that it is sent', async (t) => {
      const before = await control.sent();
      await control.link('down', 'api');
      await ready();
      t.same(await call('api.example'), { status: 200, text: 'queue' });
      t.same(await call('old.example'), { status: 200, text: 'upstream' });
      await control.link('auto', 'api');
      await ready();
      t.same(await call('api.example'), { status: 200, text: 'upstream' });
      const { runtime, ...others } = await control.sent();
      const { runtime: first, ...same } = before;
      t.same(others, same);
      t.ok(runtime! - first! < 400, `${runtime! - first!} bytes for a hold and its end`);
    });

    await t.test('it takes an edit under traffic, and no request fails', async (t) => {
      let going = true;
      const busy = new Pool(`http://127.0.0.1:${outbound}`, { connections: 6 });
      const seen = { api: new Set<number>(), old: new Set<number>(), new: new Set<number>() };
      const traffic = (['api', 'old', 'new', 'old', 'new'] as const).map(async (name) => {
        while (going) {
          const { statusCode, body } = await busy.request({
            ...{ path: '/', method: 'GET' },
            headers: { host: `${name}.example` },
          });
          await body.dump();
          seen[name].add(statusCode);
        }
      });
      const version = (await control.status()).sidecars[0]!.types.cluster!.sent;
      for (const names of [
        ['api', 'new'],
        ['api', 'old'],
        ['api', 'new'],
      ]) {
        await writeFile(file, policyOf(...names.map((name) => ({ name, url }))));
        const here = names[1]!;
        while ((await call(`${here}.example`)).status !== 200);
        await ready();
      }
      going = false;
      await Promise.all(traffic);
      await busy.close();
      t.same([...seen.api], [200]);
      // 421 where the policy does not name the host; 503 would be a route without its cluster.
      t.same([...seen.old].sort(), [200, 421]);
      t.same([...seen.new].sort(), [200, 421]);
      t.not((await ready())[0]!.types.cluster!.sent, version);
      t.equal(
        (await stats(/^cluster\.old\/direct\.membership_total/)).get('cluster.old/direct.membership_total'),
        undefined,
      );
    });

    await t.test('it does not notice that the control plane is restarted', async (t) => {
      await call('api.example');
      const before = await stats(MOVED);
      t.ok(before.size >= 8, [...before.keys()].join());
      await control.close();
      t.equal((await call('api.example')).status, 200);
      control = await plane(t, dir, xds, file, queue);
      await ready();
      t.equal((await call('api.example')).status, 200);
      t.same(Object.fromEntries(await stats(MOVED)), Object.fromEntries(before));
      const sent = await control.sent();
      // State of the world: routes are named, and what is named is answered; Envoy sees that it has them.
      t.same(Object.keys(sent), mode.variant === 'delta' ? [] : ['route'], JSON.stringify(sent));
    });

    for (const [name, count] of await stats(REJECTED)) t.equal(count, 0, name);
    await control.close();
  });
}
