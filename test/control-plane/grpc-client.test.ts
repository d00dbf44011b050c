// gRPC's own xDS client, without a sidecar: `xds:///HOST` resolves through the control plane, and calls are made. It speaks state of
// the world over the aggregated stream, and names what it wants.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { status as codes } from '@grpc/grpc-js';
import t from 'tap';
import { policyOf } from '../e2e/scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { backend, xdsClients } from './grpc.ts';
import { plane } from './sidecar.ts';

t.setTimeout(60_000);

t.test('a gRPC client is served without a sidecar', async (t) => {
  const dir = testdir(t);
  const file = join(dir, 'policy.yaml');
  const xds = { host: '127.0.0.1', port: await freePort() };
  const [first, second] = [await backend(t, 'first'), await backend(t, 'second')];
  const policy = (port: number, ...others: string[]) =>
    policyOf(
      { name: 'api', hosts: ['api.example', '*.wild.example'], url: `http://127.0.0.1:${port}` },
      ...others.map((name) => ({ name, url: `http://127.0.0.1:${port}` })),
    );
  await writeFile(file, policy(first));
  const control = await plane(t, dir, xds, file, 9);

  const { connect, close } = await xdsClients(xds);
  const api = connect('api.example');
  t.equal(await api(), 'first');
  const [status] = await control.until((sidecars) => sidecars.length === 1 && sidecars[0]!.upToDate);
  t.match(status, {
    id: 'grpc-1',
    transport: 'aggregated sotw',
    types: { listener: { names: ['api.example'] }, cluster: { names: ['api/grpc'] } },
  });

  await t.test('it follows an edit of the policy, and no call fails', async (t) => {
    await writeFile(file, policy(second, 'new'));
    const seen = [];
    while (seen.at(-1) !== 'second') seen.push(await api());
    t.same(
      seen.filter((name) => name !== 'first' && name !== 'second'),
      [],
    );
    t.equal(await connect('new.example')(), 'second', 'a destination that has come');
  });

  await t.test('what the policy does not name cannot be called', async (t) => {
    // The client gives a resource that is not in the answer 15 s to come.
    for (const target of ['unnamed.example', 'a.wild.example'])
      await t.rejects(connect(target, 500)(), { code: codes.DEADLINE_EXCEEDED });
  });

  t.match(await control.status(), {
    sidecars: [{ types: { listener: { nacks: 0 }, cluster: { nacks: 0 } } }],
  });
  close();
  await control.close();
});
