// gRPC's own xDS client, without a sidecar: `xds:///HOST` resolves through the control plane, and calls are made. It speaks state of
// the world over the aggregated stream, and names what it wants.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { policyOf } from '../e2e/scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { plane } from './sidecar.ts';

t.setTimeout(60_000);

const same = (bytes: Buffer) => bytes;
const ECHO = {
  Echo: {
    path: '/test.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
} as const;

/** A server that says which one it is. */
async function backend(t: Test, name: string): Promise<number> {
  const server = new grpc.Server();
  server.addService(ECHO, {
    Echo: ((_call, callback) => callback(null, Buffer.from(name))) as grpc.handleUnaryCall<Buffer, Buffer>,
  });
  t.teardown(() => server.forceShutdown());
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
}

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

  // It is read when the library is loaded, and there is one for the process.
  process.env.GRPC_XDS_BOOTSTRAP_CONFIG = JSON.stringify({
    xds_servers: [
      {
        server_uri: `${xds.host}:${xds.port}`,
        channel_creds: [{ type: 'insecure' }],
        server_features: ['xds_v3'],
      },
    ],
    // The library wants a locality, if an empty one.
    node: { id: 'grpc-1', locality: {} },
  });
  const { register } = await import('@grpc/grpc-js-xds');
  register();

  const Echo = grpc.makeGenericClientConstructor(ECHO, 'Echo');
  const clients: grpc.Client[] = [];
  const connect = (target: string, ms = 10_000) => {
    const client = new Echo(`xds:///${target}`, grpc.credentials.createInsecure());
    clients.push(client);
    return (): Promise<string> =>
      new Promise((resolve, reject) => {
        client.Echo!(Buffer.alloc(0), { deadline: Date.now() + ms }, (error: Error | null, answer: Buffer) =>
          error ? reject(error) : resolve(answer.toString()),
        );
      });
  };
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
      await t.rejects(connect(target, 500)(), { code: grpc.status.DEADLINE_EXCEEDED });
  });

  t.match(await control.status(), {
    sidecars: [{ types: { listener: { nacks: 0 }, cluster: { nacks: 0 } } }],
  });
  // The clients first: one that lost its control plane tries for it as long as the process lives.
  for (const client of clients) client.close();
  await control.close();
});
