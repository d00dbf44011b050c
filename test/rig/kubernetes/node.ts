// A node as the API server sees one: an object, and a lease that says that it lives. What runs on it is for the test.

import type { Cluster } from './cluster.ts';

/** Its controllers give a node up that has said nothing for 40 s, or as a test says. */
const BEAT_MS = 1_000;
const MERGE = 'application/merge-patch+json';
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';

const RESOURCES = { cpu: '8', memory: '16Gi', pods: '250' };

export interface RigNode {
  name: string;
  /** It says nothing any more: after a while its pods count as not ready. */
  silence(): void;
  /** As when it is reached again. */
  speak(): Promise<void>;
}

const lease = (name: string) => ({
  spec: {
    holderIdentity: name,
    leaseDurationSeconds: 40,
    renewTime: `${new Date().toISOString().slice(0, -1)}000Z`,
  },
});

/** Ready, for the scheduler and for who counts endpoints. Until the test is over it lives. */
export async function addNode(
  cluster: Cluster,
  name: string,
  { labels = {}, address }: { labels?: Record<string, string>; address?: string } = {},
): Promise<RigNode> {
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        'kubernetes.io/hostname': name,
        ...labels,
      },
    },
  };
  await cluster.api('POST', '/api/v1/nodes', node);
  const say = async () => {
    const status = {
      capacity: RESOURCES,
      allocatable: RESOURCES,
      conditions: [{ type: 'Ready', status: 'True', reason: 'Rig', message: '' }],
      ...(address && { addresses: [{ type: 'InternalIP', address }] }),
    };
    await cluster.api('PATCH', `/api/v1/nodes/${name}/status`, { status }, MERGE);
  };
  await say();
  // What a node that is new has until the controllers know it.
  await cluster.api('PATCH', `/api/v1/nodes/${name}`, { spec: { taints: null } }, MERGE);
  const kind = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name } };
  await cluster.api('POST', LEASES, { ...kind, ...lease(name) });
  let beats: NodeJS.Timeout | undefined;
  const speak = async () => {
    clearInterval(beats);
    beats = setInterval(() => {
      // The server may be dead on purpose.
      cluster.api('PATCH', `${LEASES}/${name}`, lease(name), MERGE).catch(() => {});
    }, BEAT_MS).unref();
    await cluster.api('PATCH', `${LEASES}/${name}`, lease(name), MERGE);
    await say();
  };
  await speak();
  return { name, silence: () => clearInterval(beats), speak };
}
