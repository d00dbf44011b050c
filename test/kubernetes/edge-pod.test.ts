// The edge pod as the chart makes it: what its values change, and what a cluster with rules of its own says to it.

import { join } from 'node:path';
import t from 'tap';
import { noHelm } from '../rig/helm.ts';
import { edgePod, helmOn, type Manifest, NAMESPACE, template, until } from '../rig/kubernetes/chart.ts';
import { noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

/** A value with dots and braces. */
const json = (path: string, value: unknown): string[] => ['--set-json', `${path}=${JSON.stringify(value)}`];

const archIs = (...values: string[]) => ({ key: 'kubernetes.io/arch', operator: 'In', values });

t.test('a digest wins over a tag', { skip: noHelm }, async (t) => {
  const values = [`images.layby.digest=${DIGEST}`, 'images.layby.tag=v9', 'images.envoy.tag=v9'];
  const { spec } = edgePod(await template('--set', values.join(','))).spec.template;
  const images = [...spec.initContainers, ...spec.containers].map(({ image }) => image);
  t.same(new Set(images), new Set([`layby@${DIGEST}`, 'layby-envoy:v9']));
  await t.rejects(template('--set', 'images.envoy.digest=sha256:12'), /digest/);
});

t.test('the pod goes to Linux, and to nodes that the images are for', { skip: noHelm }, async (t) => {
  const podOf = async (...args: string[]) => edgePod(await template(...args)).spec.template.spec;
  const plain = await podOf();
  t.match(plain.nodeSelector, { 'kubernetes.io/os': 'linux' });
  const required = (...nodeSelectorTerms: unknown[]) => ({
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  });
  t.same(plain.affinity, required({ matchExpressions: [archIs('amd64')] }));
  t.same((await podOf(...json('images.architectures', []))).affinity, {});
  await t.rejects(podOf(...json('images.architectures', ['x86'])), /architectures/);

  const [lorry, drone] = ['lorry', 'drone'].map((value) => ({
    key: 'kind',
    operator: 'In',
    values: [value],
  }));
  const spread = { preferredDuringSchedulingIgnoredDuringExecution: [] };
  const { affinity } = await podOf(
    ...json('images.architectures', ['amd64', 'arm64']),
    ...json('edge.affinity', {
      ...required({ matchExpressions: [lorry] }, { matchExpressions: [drone] }),
      podAntiAffinity: spread,
    }),
  );
  t.same(
    affinity,
    {
      ...required(...[lorry, drone].map((each) => ({ matchExpressions: [each, archIs('amd64', 'arm64')] }))),
      podAntiAffinity: spread,
    },
    'each term is enough alone, so each has to say it',
  );
});

const ownNames = (manifests: Manifest[], prefix: string): string[] =>
  manifests.map(({ metadata }) => metadata.name).filter((name) => name.startsWith(prefix));

t.test('the chart has another name where that is wanted', { skip: noHelm }, async (t) => {
  const nameOf = async (...args: string[]) => edgePod(await template(...args)).metadata.name;
  t.equal(await nameOf(), 'layby-edge');
  t.equal(await nameOf('--set', 'nameOverride=lay'), 'layby-edge', 'the release has it in its name');
  t.equal(await nameOf('--set', 'nameOverride=mesh'), 'layby-mesh-edge');
  const named = await template('--set', 'fullnameOverride=mesh');
  const pod = edgePod(named).spec.template.spec;
  t.match(pod, { serviceAccountName: 'mesh-edge', priorityClassName: 'mesh-edge' });
  t.ok(ownNames(named, 'mesh-edge').length >= 6);
  t.match(pod.containers[0]!.args, new Set(['--admin-host=mesh-edge.layby-system.svc']));
  t.match(JSON.stringify(named), /"subjects":\[\{"kind":"ServiceAccount","name":"mesh-edge"/);
  await t.rejects(nameOf('--set', 'fullnameOverride=Mesh'), /fullnameOverride/);
});

t.test('labels, annotations, environment and the account are values', { skip: noHelm }, async (t) => {
  const manifests = await template(
    ...json('commonLabels', { team: 'fleet', tier: 'one' }),
    ...json('edge.podLabels', { tier: 'two' }),
    ...json('edge.podAnnotations', { 'example.com/a': '1' }),
    ...json('edge.env', {
      controlPlane: [{ name: 'A', value: '1' }],
      queue: [{ name: 'B', value: '2' }],
      envoy: [{ name: 'C', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
    }),
    ...json('edge.serviceAccount.annotations', { 'example.com/role': 'edge' }),
  );
  for (const { kind, metadata } of manifests)
    if (metadata.name.startsWith('layby'))
      t.equal(metadata.labels?.team, 'fleet', `${kind} ${metadata.name}`);
  const { metadata, spec } = edgePod(manifests).spec.template;
  t.match(metadata.labels, { team: 'fleet', tier: 'two', 'app.kubernetes.io/component': 'edge' });
  t.match(metadata.annotations, { 'example.com/a': '1', 'prometheus.io/path': '/metrics' });
  const names = spec.containers.map(({ name, env = [] }) => [name, env.at(-1)?.name]);
  t.same(names, [
    ['control-plane', 'A'],
    ['queue', 'B'],
    ['envoy', 'C'],
  ]);
  const account = manifests.find(
    ({ kind, metadata }) => kind === 'ServiceAccount' && metadata.name === 'layby-edge',
  );
  t.same(account!.metadata.annotations, { 'example.com/role': 'edge' });
  await t.rejects(template(...json('commonLabels', { 'app.kubernetes.io/name': 'x' })), /commonLabels/);

  const given = await template('--set', 'edge.serviceAccount.create=false,edge.serviceAccount.name=given');
  t.equal(edgePod(given).spec.template.spec.serviceAccountName, 'given');
  t.notOk(given.some(({ kind, metadata }) => kind === 'ServiceAccount' && metadata.name.includes('edge')));
  t.match(JSON.stringify(given), /"subjects":\[\{"kind":"ServiceAccount","name":"given"/);
});

t.test(
  'what a DaemonSet takes as its strategy is taken; two pods on one store are not',
  { skip: noHelm },
  async (t) => {
    const strategyOf = async (...args: string[]) =>
      (edgePod(await template(...args)).spec as unknown as { updateStrategy: unknown }).updateStrategy;
    t.same(await strategyOf(), {
      type: 'RollingUpdate',
      rollingUpdate: { maxUnavailable: '100%', maxSurge: 0 },
    });
    t.same(await strategyOf('--set', 'edge.updateStrategy.type=OnDelete'), { type: 'OnDelete' });
    for (const [given, taken] of [
      [1, true],
      [40, true],
      ['25%', true],
      [0, false],
      ['0%', false],
      ['101%', false],
      ['25', false],
    ] as const) {
      const asked = strategyOf(...json('edge.updateStrategy.rollingUpdate.maxUnavailable', given));
      if (taken) t.match(await asked, { rollingUpdate: { maxUnavailable: given } });
      else await t.rejects(asked, /maxUnavailable/, String(given));
    }
    await t.rejects(strategyOf('--set', 'edge.updateStrategy.rollingUpdate.maxSurge=1'), /maxSurge/);
  },
);

t.test(
  'every container says what it takes, and a namespace with a quota has the edge pod',
  { skip },
  async (t) => {
    const { spec } = edgePod(await template()).spec.template;
    for (const { name, resources } of [...spec.initContainers, ...spec.containers]) {
      t.ok(resources?.requests?.cpu && resources.requests.memory && resources.limits?.memory, name);
    }
    const cluster = await startCluster({
      dir: join(testdir(t), 'cluster'),
      with: ['kube-controller-manager', 'kube-scheduler'],
    });
    t.teardown(() => cluster.close());
    await cluster.kubectl(['create', 'namespace', NAMESPACE]);
    const hard = {
      'requests.cpu': '2',
      'requests.memory': '4Gi',
      'limits.memory': '8Gi',
      'limits.cpu': '16',
    };
    await cluster.api('POST', `/api/v1/namespaces/${NAMESPACE}/resourcequotas`, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'all' },
      spec: { hard },
    });
    await until(async () => {
      const { status } = (await cluster.api('GET', `/api/v1/namespaces/${NAMESPACE}/resourcequotas/all`)) as {
        status?: { hard?: object };
      };
      return status?.hard && true;
    });
    await addNode(cluster, 'vehicle', { labels: spec.nodeSelector ?? {} });
    const cpu = ['ownData', 'bootstrap', 'controlPlane', 'queue', 'envoy'].flatMap((each) =>
      json(`edge.resources.${each}.limits.cpu`, '1'),
    );
    await helmOn(cluster, 'install', ...cpu, ...json('cluster.resources.limits.cpu', '1'));
    const pod = await until(async () => {
      const query = encodeURIComponent('app.kubernetes.io/component=edge');
      const { items } = (await cluster.api(
        'GET',
        `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${query}`,
      )) as { items: { spec: { nodeName?: string } }[] };
      return items.find((each) => each.spec.nodeName);
    });
    t.equal(pod.spec.nodeName, 'vehicle');
  },
);
