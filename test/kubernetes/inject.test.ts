// The mutating webhook, `layby cluster` as a process, asked by a real API server as the chart's configuration says it.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { noHelm } from '../rig/helm.ts';
import { noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { installChart, pointWebhooks, startClusterPart } from '../rig/kubernetes/cluster-part.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;
interface PodView {
  metadata: { name: string };
  spec: { initContainers?: { name: string }[]; containers: { name: string; env?: { name: string }[] }[] };
}

const podNamed = (name: string, more: object = {}, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...more },
    spec: { containers: [{ name: 'app', image: 'camera:1' }], ...spec },
  });

t.test('who asks for a sidecar gets one, who does not is not even asked about', { skip }, async (t) => {
  const dir = testdir(t);
  const cluster = await startCluster({ dir: join(dir, 'cluster'), with: ['kube-controller-manager'] });
  t.teardown(() => cluster.close());
  const { kubectl } = cluster;
  await installChart(cluster);
  const port = await freePort();
  await pointWebhooks(cluster, port);
  for (const name of ['apps', 'others', 'strict']) {
    await kubectl(['create', 'namespace', name]);
    // Pods are not taken before the controllers have made it.
    while (!(await kubectl(['get', 'sa', '-n', name, '-o', 'name'])).includes('default')) await sleep(50);
  }
  await kubectl(['label', 'namespace', 'apps', 'strict', 'layby.dev/inject=true']);
  await kubectl(['label', 'namespace', 'strict', 'pod-security.kubernetes.io/enforce=restricted']);
  const create = async (namespace: string, pod: string): Promise<PodView> =>
    JSON.parse(await kubectl(['create', '-n', namespace, '-o', 'json', '-f', '-'], pod));
  const own = ({ spec }: PodView): string[] => (spec.initContainers ?? []).map(({ name }) => name);

  // A label is seen by the API server a moment later.
  const part = await startClusterPart(t, cluster, dir, { port });
  while (
    !(await create('apps', podNamed('first')).then(
      (pod) => own(pod).length > 0,
      () => false,
    ))
  ) {
    await kubectl([
      'delete',
      'pod',
      '-n',
      'apps',
      'first',
      '--grace-period=0',
      '--force',
      '--ignore-not-found',
    ]);
    await sleep(100);
  }
  const both = ['layby-capture', 'layby-sidecar'];
  t.same(own(await create('apps', podNamed('one'))), both);
  t.same(own(await create('others', podNamed('one'))), []);
  const label = (value: string) => ({ labels: { 'layby.dev/inject': value } });
  t.same(own(await create('others', podNamed('asks', label('true')))), both);
  t.same(own(await create('apps', podNamed('not', label('false')))), []);
  t.same(
    own(await create('apps', podNamed('neither', { annotations: { 'layby.dev/inject': 'false' } }))),
    [],
  );
  const wrong = podNamed('wrong', { annotations: { 'layby.dev/capture': 'ip-tables' } });
  await t.rejects(
    create('apps', wrong),
    /denied the request: layby: the annotation layby\.dev\/capture is "ip-tables"/,
  );

  const plain = podNamed(
    'plain',
    { annotations: { 'layby.dev/capture': 'proxy' } },
    {
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          ...{ name: 'app', image: 'camera:1' },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  );
  const restricted = await create('strict', plain);
  t.same(own(restricted), ['layby-sidecar'], 'with http_proxy also where pods are restricted');
  t.match(restricted.spec.containers[0]!.env, [{ name: 'http_proxy' }]);

  await kubectl(['create', 'deployment', 'fleet', '-n', 'apps', '--image=camera:1', '--replicas=100']);
  const started = performance.now();
  let pods: PodView[] = [];
  while (pods.length < 100) {
    await sleep(100);
    const list = await cluster.api('GET', '/api/v1/namespaces/apps/pods?labelSelector=app%3Dfleet');
    pods = (list as { items: PodView[] }).items;
  }
  t.comment(`100 pods of a Deployment with sidecars: ${Math.round(performance.now() - started)} ms`);
  t.ok(pods.every((pod) => own(pod).length === 2));

  await part.kill9();
  await t.rejects(create('apps', podNamed('away')), /failed calling webhook "namespace\.inject\.layby\.dev"/);
  t.same(own(await create('others', podNamed('away'))), [], 'without the webhook the others are made');
  t.same(own(await create('apps', podNamed('away-not', label('false')))), []);
  await startClusterPart(t, cluster, dir, { port });
  t.same(own(await create('apps', podNamed('back'))), both);
});
