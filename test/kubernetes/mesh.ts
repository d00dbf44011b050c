// A control plane whose policy is in a real cluster, with the rights of docs/kubernetes.md and no others, and a real Envoy beside it.

import { join } from 'node:path';
import type { Test } from 'tap';
import type { ControlPlaneOptions } from '../../src/control-plane/control-plane.ts';
import type { Condition, Status } from '../../src/policy/sources/kubernetes/status.ts';
import { type Plane, plane } from '../control-plane/sidecar.ts';
import {
  type Cluster,
  type ClusterOptions,
  startCluster,
  writeKubeconfig,
} from '../rig/kubernetes/cluster.ts';
import { installCrds } from '../rig/kubernetes/crds.ts';
import { freePort } from '../rig/ports.ts';

/** What docs/kubernetes.md lists. */
const RIGHTS = `apiVersion: v1
kind: ServiceAccount
metadata: { name: layby, namespace: default }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: layby }
rules:
  - { apiGroups: [layby.dev], resources: [destinations, services, meshes], verbs: [get, list, watch] }
  - { apiGroups: [layby.dev], resources: [reports], verbs: [get, create, patch] }
  - { apiGroups: [""], resources: [services], verbs: [get, list, watch] }
  - { apiGroups: [""], resources: [nodes], verbs: [get] }
  - { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: layby }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: layby }
subjects: [{ kind: ServiceAccount, name: layby, namespace: default }]
`;

/** With the custom resources, and a kubeconfig of Layby's own service account. */
export async function policyCluster(
  t: Test,
  dir: string,
  others: ClusterOptions['with'] = [],
): Promise<{ cluster: Cluster; kubeconfig: string }> {
  const cluster = await startCluster({ dir: join(dir, 'cluster'), with: others });
  t.teardown(() => cluster.close());
  await installCrds(cluster);
  await cluster.kubectl(['apply', '-f', '-'], RIGHTS);
  const kubeconfig = join(dir, 'layby.kubeconfig');
  await writeKubeconfig(kubeconfig, cluster, await cluster.tokenOf('default', 'layby'));
  return { cluster, kubeconfig };
}

export interface ClusterPlane extends Plane {
  xds: { host: string; port: number };
  metric(name: string): Promise<number>;
  /** What the status page says of the policy. */
  policy(): Promise<{ version: string | null; problem: { code: string } | null }>;
}

export interface PlaneOptions extends Omit<Partial<ControlPlaneOptions>, 'queue'> {
  kubeconfig: string;
  node?: string;
  /** Where one was before; default: a new port. */
  at?: { host: string; port: number };
  /** The port of what stands for the queue. */
  queue?: number;
}

/** `dir`: of this control plane alone. */
export async function clusterPlane(
  t: Test,
  dir: string,
  { kubeconfig, node = 'edge-1', queue = 9, at, ...more }: PlaneOptions,
): Promise<ClusterPlane> {
  const xds = at ?? { host: '127.0.0.1', port: await freePort() };
  const control = await plane(t, dir, xds, '', queue, { kubernetes: { kubeconfig, node }, ...more });
  const { host, port } = control.control.admin as { host: string; port: number };
  return {
    ...control,
    xds,
    metric: async (name) => {
      const text = await (await fetch(`http://${host}:${port}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1]);
    },
    policy: async () => {
      const status = await (await fetch(`http://${host}:${port}/v1/status`)).json();
      return (status as { policy: Awaited<ReturnType<ClusterPlane['policy']>> }).policy;
    },
  };
}

export const document = (name: string, url: string, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Destination',
    metadata: { name },
    spec: { hosts: [`${name}.example`], upstream: { url }, ...spec },
  });

export const apply = (cluster: Cluster, ...documents: string[]): Promise<string> =>
  cluster.kubectl(['apply', '-f', '-'], documents.join('\n---\n'));

export interface Seen {
  metadata: { generation: number; resourceVersion: string };
  status?: Status;
}

export const seen = async (cluster: Cluster, name: string): Promise<Seen> =>
  JSON.parse(await cluster.kubectl(['get', 'destination', name, '-o', 'json'])) as Seen;

export const conditionOf = ({ status }: Seen, type: string): Condition | undefined =>
  status?.conditions?.find((each) => each.type === type);

/** Resolves with the object once its condition is this, said of its newest generation. */
export async function until(
  cluster: Cluster,
  name: string,
  type: string,
  status: string,
  also: (condition: Condition) => boolean = () => true,
): Promise<Seen> {
  for (const deadline = Date.now() + 60_000; ; ) {
    const object = (await cluster.api(
      'GET',
      `/apis/layby.dev/v1alpha1/namespaces/default/destinations/${name}`,
    )) as Seen;
    const condition = conditionOf(object, type);
    const { generation } = object.metadata;
    if (condition?.status === status && condition.observedGeneration === generation && also(condition))
      return object;
    if (Date.now() > deadline)
      throw new Error(`${name} is not ${type}=${status} within a minute: ${JSON.stringify(object.status)}`);
  }
}
