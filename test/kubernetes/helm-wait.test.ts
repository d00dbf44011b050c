// `helm install --wait` of policy objects, with the Helm 4 that people have: it ends well when the vehicles have them, and in time when
// they never will. It judges by kstatus, as Flux does.

import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { edgeTransport } from '../../src/queue/control.ts';
import { httpServer, sidecar } from '../control-plane/sidecar.ts';
import { MODES } from '../control-plane/xds-client.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { CHART } from '../rig/kubernetes/chart.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { helm4, noHelmPackage } from '../rig/kubernetes/helm-package.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregatorAccount, NAMESPACE, startAggregator } from './aggregator.ts';
import { clusterPlane, document, policyCluster } from './mesh.ts';

t.setTimeout(300_000);

const TIMEOUT_S = 15;
/** What Helm itself needs, and a busy machine, ms. */
const BESIDE_MS = 20_000;

const skip = noKubernetes || noHelmPackage;

const MESH = `apiVersion: layby.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { passthrough: deny }
`;
const SERVICE = `apiVersion: layby.dev/v1alpha1
kind: Service
metadata: { name: map }
spec: { hosts: [map.vehicle], node: truck-7, address: "127.0.0.1:15990", app: "127.0.0.1:8080", allow: [truck-8] }
`;

/** A chart of these documents. */
async function chartOf(dir: string, name: string, documents: readonly string[]): Promise<string> {
  const chart = join(dir, name);
  await mkdir(join(chart, 'templates'), { recursive: true });
  await writeFile(join(chart, 'Chart.yaml'), `apiVersion: v2\nname: ${name}\nversion: 1.0.0\n`);
  await writeFile(join(chart, 'templates', 'policy.yaml'), documents.join('\n---\n'));
  return chart;
}

t.test('helm --wait says whether the policy is in force', { skip }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  startAggregator(t, await aggregatorAccount(cluster, dir), 'the-one');
  const port = await httpServer(t, (_, response) => response.end('upstream'));
  const url = `http://localhost:${port}`;
  const control = await clusterPlane(t, dir, {
    kubeconfig,
    kubernetes: { kubeconfig, node: 'edge-1', reportNamespace: NAMESPACE },
  });
  const envoy = await sidecar(t, MODES[2]!, dir, control.xds);
  // A queue with nothing in it.
  const transport = edgeTransport(control.xds);
  t.teardown(() => transport.close());
  const queue = transport.attach();
  queue.on('data', () => {});
  queue.on('error', () => {});
  queue.write({ pid: 1, policy_version: '', lanes: [] } as never);

  const wait = async (verb: 'install' | 'upgrade', name: string, documents: readonly string[]) => {
    const began = performance.now();
    const problem = await helm4(
      [
        ...[verb, name, await chartOf(dir, name, documents)],
        ...['--wait', '--timeout', `${TIMEOUT_S}s`, '--namespace', 'default'],
      ],
      { KUBECONFIG: cluster.kubeconfig },
    ).then(
      () => undefined,
      (error: Error) => error.message,
    );
    return { problem, took: performance.now() - began };
  };
  const policy = (spec: object = {}) => [MESH, SERVICE, document('api', url, spec)];
  const statusOf = async (host: string) => (await envoy.call(host)).status;
  const inTime = (t: Test, took: number) =>
    t.ok(took < TIMEOUT_S * 1_000 + BESIDE_MS, `${Math.round(took)} ms`);

  await t.test('an installation and an upgrade end when it is', async (t) => {
    t.equal((await wait('install', 'policy', policy())).problem, undefined);
    t.equal(await statusOf('api.example'), 200);
    const hosts = { hosts: ['api.example', 'second.example'] };
    t.equal((await wait('upgrade', 'policy', policy(hosts))).problem, undefined);
    t.equal(await statusOf('second.example'), 200, 'the newest, not the one before');
  });

  await t.test('an object that is wrong fails it, before the time is over', async (t) => {
    // The schema lets it pass; that the host is another's only a control plane says.
    const { problem, took } = await wait('install', 'thief', [
      document('thief', url, { hosts: ['api.example'] }),
    ]);
    t.match(problem, /Destination.*thief|thief.*Destination/s);
    t.ok(took < TIMEOUT_S * 1_000, `${Math.round(took)} ms: it does not wait for what is Stalled`);
    t.equal(await statusOf('api.example'), 200);
  });

  await t.test('what the API server refuses fails it', async (t) => {
    const { problem, took } = await wait('install', 'refused', [
      document('refused', url, { answerTimeout: 'soon' }),
    ]);
    t.match(problem, /answerTimeout.*expected a duration/s);
    inTime(t, took);
  });

  await t.test('what Envoy refuses fails it when the time is over', async (t) => {
    const odd = document('odd', url, { envoy: { cluster: { lb_policy: 'CLUSTER_PROVIDED' } } });
    const { problem, took } = await wait('install', 'odd', [odd]);
    t.match(problem, /odd/);
    inTime(t, took);
    await cluster.kubectl(['delete', 'destination', 'odd', 'thief', '--ignore-not-found']);
  });

  await t.test('what no control plane takes fails it when the time is over', async (t) => {
    await control.close();
    const { problem, took } = await wait(
      'upgrade',
      'policy',
      policy({ hosts: ['api.example', 'third.example'] }),
    );
    t.match(problem, /api/);
    inTime(t, took);
  });
});

t.test('Helm 4 makes of the chart what Helm 3 makes', { skip: noHelm || noHelmPackage }, async (t) => {
  const args = ['template', 'layby', CHART, '-n', NAMESPACE, '--kube-version', '1.36'];
  // Objects in the order of a set: the two do not sort hooks and kinds alike.
  const rendered = (text: string) =>
    parseAllDocuments(text)
      .map((each) => JSON.stringify(each.toJS()))
      .filter((each) => each !== 'null')
      .sort();
  const all = rendered(await helm4(args));
  t.ok(all.length > 10);
  t.same(all, rendered(await helm(args)));
});

t.test('Helm 4 installs the chart and upgrades it', { skip }, async (t) => {
  const dir = testdir(t);
  const { cluster } = await policyCluster(t, dir);
  // As if the definitions were not there yet: they come with the chart.
  await cluster.kubectl(['delete', 'crd', '--all']);
  const chart = join(dir, 'chart');
  await cp(CHART, chart, { recursive: true, dereference: true });
  const on = (verb: 'install' | 'upgrade', ...args: string[]) =>
    helm4([verb, 'layby', chart, '-n', NAMESPACE, '--create-namespace', ...args], {
      KUBECONFIG: cluster.kubeconfig,
    });
  await on('install');
  t.match(
    await cluster.kubectl(['get', 'daemonset,deployment', '-n', NAMESPACE]),
    /layby-edge.*layby-cluster/s,
  );
  t.match(await cluster.kubectl(['get', 'crd']), /destinations\.layby\.dev/);
  await on('upgrade', '--set', 'cluster.replicas=3');
  t.match(await cluster.kubectl(['get', 'deployment', '-n', NAMESPACE]), /layby-cluster +0\/3/);
});
