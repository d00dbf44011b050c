// Who may do what with the policy, and who makes a node a vehicle: the API server's own answers, with its controllers putting roles together.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { noHelm } from '../rig/helm.ts';
import { edgePod, helmOn, NAMESPACE, template, until } from '../rig/kubernetes/chart.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;
const ROLES = ['view', 'edit', 'admin'] as const;

async function started(t: Test): Promise<Cluster> {
  const cluster = await startCluster({
    dir: join(testdir(t), 'cluster'),
    with: ['kube-controller-manager', 'kube-scheduler'],
  });
  t.teardown(() => cluster.close());
  return cluster;
}

/** As `kubectl auth can-i` asks, also of kinds that are not there yet: for the user whose role in the namespace `apps` is called as she is. */
async function may(cluster: Cluster, user: string, verb: string, what: string): Promise<boolean> {
  const [resource = '', subresource = ''] = what.split('/');
  const asked = { namespace: 'apps', group: 'layby.dev', verb, resource, subresource };
  const answer = await cluster.api('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user, resourceAttributes: asked },
  });
  return (answer as { status: { allowed: boolean } }).status.allowed;
}

async function withUsers(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['create', 'namespace', 'apps']);
  for (const role of ROLES)
    await cluster.kubectl([
      ...['create', 'rolebinding', role, '-n', 'apps', `--clusterrole=${role}`, `--user=${role}`],
    ]);
}

t.test('who may view, edit or administer a namespace may do so with its policy', { skip }, async (t) => {
  const cluster = await started(t);
  await withUsers(cluster);
  await helmOn(cluster, 'install');
  await until(async () => (await may(cluster, 'admin', 'get', 'reports')) || undefined);
  for (const [verb, what, ...answers] of [
    ['list', 'destinations', true, true, true],
    ['watch', 'services', true, true, true],
    ['get', 'meshes', true, true, true],
    ['create', 'destinations', false, true, true],
    ['patch', 'services', false, true, true],
    ['delete', 'destinations', false, true, true],
    ['create', 'meshes', false, false, true],
    ['get', 'reports', false, false, true],
    ['list', 'reports', false, false, true],
    ['patch', 'reports', false, false, false],
    ['patch', 'destinations/status', false, false, false],
  ] as const)
    for (const [each, role] of ROLES.entries())
      t.equal(await may(cluster, role, verb, what), answers[each], `${role}: ${verb} ${what}`);
});

t.test('without aggregation the roles are there for who is given them by name', { skip }, async (t) => {
  const cluster = await started(t);
  await withUsers(cluster);
  await helmOn(cluster, 'install', '--set', 'roles.aggregate=false');
  await cluster.kubectl([
    ...['create', 'rolebinding', 'author', '-n', 'apps', '--clusterrole=layby-edit', '--user=author'],
  ]);
  t.equal(await may(cluster, 'author', 'create', 'destinations'), true);
  t.equal(await may(cluster, 'admin', 'create', 'destinations'), false);
});

t.test('policy from files has no roles', { skip: noHelm }, async (t) => {
  const all = await template('--set', 'policy.source=files,policy.configMap=policy');
  t.notMatch(JSON.stringify(all), /aggregate-to-/);
});

const selectorOf = async (): Promise<Record<string, string>> =>
  edgePod(await template()).spec.template.spec.nodeSelector!;

t.test('no kubelet makes its own node a vehicle', { skip }, async (t) => {
  const cluster = await started(t);
  await addNode(cluster, 'cloud');
  await cluster.kubectl([
    ...['create', 'clusterrolebinding', 'nodes', '--clusterrole=system:node', '--group=system:nodes'],
  ]);
  const asKubelet = ['--as', 'system:node:cloud', '--as-group', 'system:nodes'];
  const { 'kubernetes.io/os': _, ...labels } = await selectorOf();
  t.ok(Object.keys(labels).length);
  await cluster.kubectl(['label', 'node', 'cloud', 'example.com/own=true', ...asKubelet]);
  for (const [key, value] of Object.entries(labels)) {
    await t.rejects(
      cluster.kubectl(['label', 'node', 'cloud', `${key}=${value}`, ...asKubelet]),
      /not allowed to (set|modify)/,
      key,
    );
    await cluster.kubectl(['label', 'node', 'cloud', `${key}=${value}`]);
  }
  await cluster.kubectl(['delete', 'node', 'cloud']);
  const again = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'cloud', labels } };
  await t.rejects(
    cluster.kubectl(['create', '-f', '-', ...asKubelet], JSON.stringify(again)),
    /not allowed to (set|modify)/,
    'nor when it registers',
  );
});

t.test('an upgrade that takes the edge pod from nodes is refused, by their names', { skip }, async (t) => {
  const cluster = await started(t);
  const { 'kubernetes.io/os': _, ...labels } = await selectorOf();
  const [own] = Object.keys(labels);
  await addNode(cluster, 'edge-1', { labels: { kind: 'vehicle' } });
  await addNode(cluster, 'edge-2', { labels: { kind: 'vehicle', ...labels } });
  await addNode(cluster, 'cloud');
  const selector = JSON.stringify({ [own!]: null, kind: 'vehicle' });
  await helmOn(cluster, 'install', '--set-json', `edge.nodeSelector=${selector}`);
  await until(async () => {
    const pods = await cluster.kubectl(['get', 'pods', '-n', NAMESPACE, '-o', 'name']);
    return pods.split('\n').filter((each) => each.includes('-edge-')).length === 2 ? true : undefined;
  });
  await t.rejects(helmOn(cluster, 'upgrade', '--reset-values'), /would lose it: edge-1\./);
  await cluster.kubectl(['label', 'node', 'edge-1', `${own}=${labels[own!]}`]);
  await helmOn(cluster, 'upgrade', '--reset-values');
});
