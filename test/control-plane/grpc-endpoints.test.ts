// gRPC's own xDS client and a Service of Kubernetes: it gets the endpoints too. What is known of them is what an earlier run left on the disk: the
// API server is away.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { saveLastGood } from '../../src/policy/last-good.ts';
import { resolve } from '../../src/policy/resolve.ts';
import type { ClusterView } from '../../src/policy/sources/kubernetes/slices.ts';
import { policyOf } from '../../src/policy/version.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { plane } from './sidecar.ts';

t.setTimeout(60_000);

const same = (bytes: Buffer) => bytes;
const WHO = {
  Who: {
    path: '/test.Who/Who',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
} as const;

t.test('a gRPC client calls the endpoints of a Service', async (t) => {
  const dir = testdir(t);
  const server = new grpc.Server();
  server.addService(WHO, {
    Who: ((_call, callback) => callback(null, Buffer.from('pod'))) as grpc.handleUnaryCall<Buffer, Buffer>,
  });
  t.teardown(() => server.forceShutdown());
  const port = await new Promise<number>((done, fail) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? fail(error) : done(bound),
    ),
  );

  const document = {
    apiVersion: 'layby.dev/v1alpha1' as const,
    kind: 'Destination' as const,
    metadata: { name: 'map' },
    spec: { hosts: ['map.example'], upstream: { url: 'http://map.fleet.svc:50051' } },
  };
  const state = join(dir, 'state');
  await saveLastGood(state, policyOf({ destinations: [resolve(document, { inCluster: true })] }));
  const metadata = { namespace: 'fleet', name: 'map', resourceVersion: '1' };
  const endpoint = (address: string, node: string) => ({ address, node, state: 'ready' as const });
  const view: ClusterView = {
    services: [{ metadata, ports: [{ name: 'grpc', port: 50051 }], local: false }],
    slices: [
      {
        metadata,
        ...{ service: 'map', family: 'IPv4', ports: [{ name: 'grpc', port }] },
        // Nobody is at the other one: of another node, it is not asked.
        endpoints: [endpoint('127.0.0.9', 'cloud-1'), endpoint('127.0.0.1', 'edge-1')],
      },
    ],
  };
  await writeFile(join(state, 'endpoints.json'), JSON.stringify({ format: 1, view }));
  const kubeconfig = join(dir, 'kubeconfig');
  await writeFile(
    kubeconfig,
    JSON.stringify({
      'current-context': 'a',
      clusters: [{ name: 'a', cluster: { server: `https://127.0.0.1:${await freePort()}` } }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      users: [{ name: 'a', user: { token: 'x' } }],
    }),
  );
  const xds = { host: '127.0.0.1', port: await freePort() };
  const control = await plane(t, dir, xds, '', 9, { kubernetes: { kubeconfig, node: 'edge-1' } });

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
  const Who = grpc.makeGenericClientConstructor(WHO, 'Who');
  const client = new Who('xds:///map.example', grpc.credentials.createInsecure());
  const call = (): Promise<string> =>
    new Promise((done, fail) => {
      client.Who!(
        Buffer.alloc(0),
        { deadline: Date.now() + 10_000 },
        (error: Error | null, answer: Buffer) => (error ? fail(error) : done(answer.toString())),
      );
    });
  for (let i = 0; i < 5; i += 1) t.equal(await call(), 'pod');
  t.match(await control.status(), { sidecars: [{ types: { endpoint: { nacks: 0 } } }] });
  client.close();
  await control.close();
});
