// gRPC's own xDS client and a Service of Kubernetes: it gets the endpoints too. What is known of them is what an earlier run left on the disk: the
// API server is away.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { saveLastGood } from '../../src/policy/last-good.ts';
import { resolve } from '../../src/policy/resolve.ts';
import type { ClusterView } from '../../src/policy/sources/kubernetes/slices.ts';
import { policyOf } from '../../src/policy/version.ts';
import { writeKubeconfig } from '../rig/kubernetes/cluster.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { backend, xdsClients } from './grpc.ts';
import { plane } from './sidecar.ts';

t.setTimeout(60_000);

t.test('a gRPC client calls the endpoints of a Service', async (t) => {
  const dir = testdir(t);
  const port = await backend(t, 'pod');
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
  await writeKubeconfig(kubeconfig, { url: `https://127.0.0.1:${await freePort()}`, ca: '' }, 'x');
  const xds = { host: '127.0.0.1', port: await freePort() };
  const control = await plane(t, dir, xds, '', 9, { kubernetes: { kubeconfig, node: 'edge-1' } });

  const { connect, close } = await xdsClients(xds);
  const call = connect('map.example');
  for (let i = 0; i < 5; i += 1) t.equal(await call(), 'pod');
  t.match(await control.status(), { sidecars: [{ types: { endpoint: { nacks: 0 } } }] });
  close();
  await control.close();
});
