// An upgrade of the chart with a vehicle that says nothing, on the real controllers. Nodes are objects; the test is their kubelet: it reports
// pods ready, and ends those that are deleted, but on the silent node.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { noHelm } from '../rig/helm.ts';
import { helmOn, NAMESPACE, template, until } from '../rig/kubernetes/chart.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;
const VEHICLES = ['edge-1', 'edge-2', 'edge-3', 'edge-4', 'edge-5'];
const SILENT = 'edge-2';
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
const BEAT_MS = 300;

interface Pod {
  metadata: { name: string; deletionTimestamp?: string };
  spec: { nodeName?: string; containers: { name: string; args: string[] }[] };
  status: { phase: string; conditions?: { type: string; status: string }[] };
}

const podsOf = async (cluster: Cluster): Promise<Pod[]> => {
  const selector = encodeURIComponent('app.kubernetes.io/component=edge');
  return ((await cluster.api('GET', `${PODS}?labelSelector=${selector}`)) as { items: Pod[] }).items;
};

const isReady = ({ status }: Pod): boolean =>
  status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;

/** As the kubelets of all nodes but those that are silent. */
function kubelets(t: Test, cluster: Cluster): Set<string> {
  const silent = new Set<string>();
  const beat = async () => {
    for (const pod of await podsOf(cluster)) {
      const { name, deletionTimestamp } = pod.metadata;
      if (!pod.spec.nodeName || silent.has(pod.spec.nodeName)) continue;
      if (deletionTimestamp) await cluster.api('DELETE', `${PODS}/${name}?gracePeriodSeconds=0`);
      else if (!isReady(pod)) {
        const conditions = ['Ready', 'ContainersReady'].map((type) => ({
          type,
          status: 'True',
          lastTransitionTime: new Date().toISOString(),
        }));
        const status = { phase: 'Running', conditions };
        await cluster.api('PATCH', `${PODS}/${name}/status`, { status }, 'application/merge-patch+json');
      }
    }
  };
  let stopped = false;
  const go = async () => {
    while (!stopped) {
      await beat().catch(() => {}); // Between two requests a pod may have gone.
      await new Promise((resolve) => setTimeout(resolve, BEAT_MS).unref());
    }
  };
  const going = go();
  t.teardown(async () => {
    stopped = true;
    await going;
  });
  return silent;
}

const RATES = { before: '1Mbit/s', after: '2Mbit/s' };

/** By node: with which of the two settings its pods were made, and whether they are on their way out. */
async function standing(cluster: Cluster): Promise<Record<string, string>> {
  const said: Record<string, string> = {};
  for (const { metadata, spec } of await podsOf(cluster)) {
    const args = spec.containers.find(({ name }) => name === 'queue')!.args;
    const version = args.includes(`--replay-rate=${RATES.after}`) ? 'new' : 'old';
    said[spec.nodeName ?? '?'] = metadata.deletionTimestamp ? `${version}, ending` : version;
  }
  return said;
}

/** Five vehicles with the chart, one of which the controllers have given up. */
async function fleet(t: Test, ...values: string[]) {
  const cluster = await startCluster({
    dir: join(testdir(t), 'cluster'),
    with: ['kube-controller-manager', 'kube-scheduler'],
    patience: 4,
  });
  t.teardown(() => cluster.close());
  const edge = (await template()).find(({ kind }) => kind === 'DaemonSet') as unknown as {
    spec: { template: { spec: { nodeSelector: Record<string, string> } } };
  };
  const labels = edge.spec.template.spec.nodeSelector;
  const nodes = await Promise.all(VEHICLES.map((name) => addNode(cluster, name, { labels })));
  const silent = kubelets(t, cluster);
  await helmOn(cluster, 'install', '--set', `edge.replayRate=${RATES.before}`, ...values);
  await until(async () => {
    const pods = await podsOf(cluster);
    return pods.length === VEHICLES.length && pods.every(isReady) ? true : undefined;
  });
  silent.add(SILENT);
  nodes.find(({ name }) => name === SILENT)!.silence();
  await until(async () => (await podsOf(cluster)).some((pod) => !isReady(pod)) || undefined);
  await helmOn(cluster, 'upgrade', '--set', `edge.replayRate=${RATES.after}`, ...values);
  return cluster;
}

const all = (others: string, silent: string): Record<string, string> =>
  Object.fromEntries(VEHICLES.map((name) => [name, name === SILENT ? silent : others]));

const settled = (cluster: Cluster, wanted: Record<string, string>): Promise<true> =>
  until(async () => {
    const said = await standing(cluster);
    return VEHICLES.every((name) => said[name] === wanted[name]) ? true : undefined;
  });

t.test('a vehicle that is silent stops the upgrade of no other', { skip }, async (t) => {
  const cluster = await fleet(t);
  await settled(cluster, all('new', 'old, ending'));
  t.same(await standing(cluster), all('new', 'old, ending'));
});

t.test('with maxUnavailable 1 it would: of the others none is upgraded', { skip }, async (t) => {
  const cluster = await fleet(t, '--set', 'edge.updateStrategy.rollingUpdate.maxUnavailable=1');
  await settled(cluster, all('old', 'old, ending'));
  const { metadata } = (await cluster.api(
    'GET',
    `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/layby-edge`,
  )) as { metadata: { generation: number } };
  await until(async () => {
    const { status } = (await cluster.api(
      'GET',
      `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/layby-edge`,
    )) as { status: { observedGeneration: number } };
    return status.observedGeneration === metadata.generation ? true : undefined;
  });
  // Rounds of the controller follow whatever happens to a pod; each of them could replace another.
  for (let round = 0; round < 10; round++) {
    await cluster.kubectl([
      ...['annotate', '--overwrite', 'pods', '-n', NAMESPACE, '-l', 'app.kubernetes.io/component=edge'],
      `rig/round=${round}`,
    ]);
    t.same(await standing(cluster), all('old', 'old, ending'));
  }
});

t.test('with OnDelete each vehicle is upgraded when somebody says so', { skip }, async (t) => {
  const cluster = await fleet(t, '--set', 'edge.updateStrategy.type=OnDelete');
  t.same(await standing(cluster), all('old', 'old'));
  const one = (await podsOf(cluster)).find(({ spec }) => spec.nodeName === 'edge-4')!;
  await cluster.kubectl(['delete', 'pod', '-n', NAMESPACE, one.metadata.name, '--wait=false']);
  const wanted = { ...all('old', 'old'), 'edge-4': 'new' };
  await settled(cluster, wanted);
  t.same(await standing(cluster), wanted);
});
