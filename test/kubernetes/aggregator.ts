// The status aggregator of the cluster part beside a real API server, with the rights of docs/kubernetes.md and no others.

import { join } from 'node:path';
import type { Test } from 'tap';
import { DEFAULT_TRUST_DOMAIN } from '../../src/identity/spiffe.ts';
import { kubeconfigAccess } from '../../src/policy/sources/kubernetes/access.ts';
import { Aggregator } from '../../src/policy/sources/kubernetes/aggregator.ts';
import { Api } from '../../src/policy/sources/kubernetes/api.ts';
import { NodeSigner, type NodeSignerOptions } from '../../src/policy/sources/kubernetes/node-signer.ts';
import { logger } from '../../src/telemetry/log.ts';
import { type Cluster, writeKubeconfig } from '../rig/kubernetes/cluster.ts';

/** Of the Reports. */
export const NAMESPACE = 'layby-system';

/** s */
export const LEASE_S = 3;

/** What docs/kubernetes.md lists for the cluster part. */
const RIGHTS = `apiVersion: v1
kind: Namespace
metadata: { name: ${NAMESPACE} }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: layby-cluster, namespace: ${NAMESPACE} }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: layby-cluster }
rules:
  - { apiGroups: [layby.dev], resources: [destinations, services, meshes], verbs: [get, list, watch] }
  - { apiGroups: [layby.dev], resources: [destinations/status, services/status, meshes/status], verbs: [patch] }
  - { apiGroups: [""], resources: [nodes], verbs: [get, list, watch] }
  - { apiGroups: [events.k8s.io], resources: [events], verbs: [create] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: layby-cluster }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: layby-cluster }
subjects: [{ kind: ServiceAccount, name: layby-cluster, namespace: ${NAMESPACE} }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: layby-cluster, namespace: ${NAMESPACE} }
rules:
  - { apiGroups: [layby.dev], resources: [reports], verbs: [get, list, watch] }
  - { apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create] }
  - { apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [layby-cluster], verbs: [get, update] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: layby-cluster, namespace: ${NAMESPACE} }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: layby-cluster }
subjects: [{ kind: ServiceAccount, name: layby-cluster, namespace: ${NAMESPACE} }]
`;

/** Its account. Returns a kubeconfig. */
export async function aggregatorAccount(cluster: Cluster, dir: string): Promise<string> {
  await cluster.kubectl(['apply', '-f', '-'], RIGHTS);
  const kubeconfig = join(dir, 'aggregator.kubeconfig');
  await writeKubeconfig(kubeconfig, cluster, await cluster.tokenOf(NAMESPACE, 'layby-cluster'));
  return kubeconfig;
}

export interface Running {
  aggregator: Aggregator;
  /** `release` false: as if it were killed. */
  close(release: boolean): Promise<void>;
}

export function startAggregator(
  t: Test,
  kubeconfig: string,
  identity: string,
  reportNamespace = NAMESPACE,
): Running {
  const api = new Api(() => kubeconfigAccess(kubeconfig));
  const options = { reportNamespace, identity, leaseDuration: LEASE_S };
  const aggregator = new Aggregator({ api, log: logger('test'), ...options });
  aggregator.start();
  let closed: Promise<void> | undefined;
  const close = (release: boolean) => {
    closed ??= aggregator.close({ release }).then(() => api.close());
    return closed;
  };
  t.teardown(() => close(true));
  return { aggregator, close };
}

/** Signs for the nodes, as the cluster part does. `kubeconfig`: as the aggregator's. */
export function startSigner(
  t: Test,
  kubeconfig: string,
  aggregator: Aggregator,
  options: Partial<NodeSignerOptions> = {},
): NodeSigner {
  const api = new Api(() => kubeconfigAccess(kubeconfig));
  const signer = new NodeSigner({
    ...{ api, namespace: NAMESPACE, name: 'layby-cluster-authority', makes: true },
    ...{ trustDomain: DEFAULT_TRUST_DOMAIN, log: logger('test'), look: 500 },
    requests: () => aggregator.requests,
    leads: () => aggregator.leads && aggregator.synced,
    ...options,
  });
  signer.start();
  t.teardown(() => signer.close().then(() => api.close()));
  return signer;
}

/** For control planes that report where one outside of a pod does. */
export const aggregate = (t: Test, cluster: Cluster): Running =>
  startAggregator(t, cluster.kubeconfig, 'the-one', 'default');
