// A control plane whose queue has not come yet: what it holds, by the file that the queue left, and what it says of it.

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { startControlPlane } from '../../src/control-plane/control-plane.ts';
import { EdgeClient, type EdgeState, type QueueReport } from '../../src/wire/edge-service.ts';
import { PendingLanes } from '../../src/wire/pending-lanes.ts';
import { pendingLanesFile } from '../../src/wire/shared-dir.ts';
import { policyOf } from '../e2e/scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';

const scene = async (t: Test, marked?: string[]) => {
  const dir = testdir(t);
  const shared = join(dir, 'shared');
  const lanes = new PendingLanes(pendingLanesFile(shared));
  t.teardown(() => lanes.close());
  if (marked) await lanes.open(marked);
  const policy = join(dir, 'policy.yaml');
  const url = 'http://127.0.0.1:1';
  writeFileSync(
    policy,
    policyOf({ name: 'api', url }, { name: 'empty', url }, { name: 'loose', url, store: { order: 'none' } }),
  );
  const xds = { host: '127.0.0.1', port: await freePort() };
  const control = await startControlPlane({
    ...{ policy: [policy], dir: join(dir, 'control-plane'), shared, xds, expectSidecars: 0 },
    admin: { host: '127.0.0.1', port: 0 },
    queue: { unix: join(dir, 'queue.sock') },
    queueAdmin: { unix: join(dir, 'queue-admin.sock') },
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => control.close());
  const { host, port } = control.admin as { host: string; port: number };
  const get = async (path: string) => (await fetch(`http://${host}:${port}${path}`)).text();
  const held = async () => {
    const { destinations } = JSON.parse(await get('/v1/status')) as {
      destinations: { name: string; hold: boolean }[];
    };
    return destinations.filter(({ hold }) => hold).map(({ name }) => name);
  };
  /** Resolves when these are held: the file is read now and then. */
  const untilHeld = async (...names: string[]) => {
    while ((await held()).join() !== names.join()) await sleep(20);
  };
  const attach = () => {
    const client = new EdgeClient(
      `127.0.0.1:${xds.port}`,
      grpc.credentials.createInsecure(),
    ) as unknown as grpc.Client & { Attach(): grpc.ClientDuplexStream<QueueReport, EdgeState> };
    t.teardown(() => client.close());
    const call = client.Attach();
    call.on('error', () => {});
    call.on('data', () => {});
    return call;
  };
  return { get, held, untilHeld, attach, lanes, shared };
};

const lane = {
  ...{ entries: 0, bytes: 0, dead: 0, quarantined: 0, oldest: 0 },
  ...{ pending: false, failing: false, generation: 0, reached: 0, staged: 0, former: [] },
};

t.test('only lanes that the file marks are held, and status says why', async (t) => {
  const { get, held, untilHeld, attach, lanes } = await scene(t, ['api', 'gone']);
  t.same(await held(), ['api']);
  t.match(await get('/readyz'), /the queue is not there yet; calls are held to api/);
  t.match(await get('/v1/status'), /the queue has not reported yet, and had entries/);
  await lanes.mark('empty');
  await untilHeld('api', 'empty');
  const queue = attach();
  while (!(await get('/readyz')).startsWith('the queue has not reported yet')) await sleep(20);
  t.match(JSON.parse(await get('/v1/status')), { queue: { attached: true, reported: false } });
  queue.write({
    ...{ pid: 1, policy_version: 'other' },
    lanes: [
      { destination: 'api', ...lane },
      { destination: 'empty', ...lane },
    ],
  });
  await untilHeld();
  t.match(await get('/readyz'), /does not have the policy yet/);
  t.match(JSON.parse(await get('/v1/status')), { queue: { attached: true, reported: true } });
  queue.cancel();
  while (JSON.parse(await get('/v1/status')).queue.attached) await sleep(20);
  await untilHeld('api', 'empty');
  t.pass('what is marked while it is away is held again');
});

t.test('without the file all lanes with an order are held until the queue reports', async (t) => {
  const { get, held, untilHeld, attach, shared } = await scene(t);
  t.same(await held(), ['api', 'empty']);
  t.match(await get('/v1/status'), /which lanes have entries is not on the disk/);
  const queue = attach();
  queue.write({ pid: 1, policy_version: '', lanes: [] });
  await untilHeld();
  queue.cancel();
  rmSync(shared, { recursive: true, force: true });
  while (JSON.parse(await get('/v1/status')).queue.attached) await sleep(20);
  t.same(await held(), [], 'a queue that died stops no calls of lanes that it said to be empty');
});
