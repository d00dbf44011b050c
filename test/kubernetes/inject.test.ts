// The mutating webhook, `layby webhook` as a process, asked by a real API server as the chart's configuration says it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { PROGRAM } from '../cli/layby-process.ts';
import { writeCertificate } from '../rig/certificate.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { endsWithTheRig } from '../rig/lifetime.ts';
import { freePort } from '../rig/ports.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const CHART = fileURLToPath(new URL('../../manifests/chart', import.meta.url));
const skip = noKubernetes || noHelm;
const CONFIGURATION = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/layby-inject';

interface Configuration {
  webhooks: { clientConfig: object }[];
}

interface PodView {
  metadata: { name: string };
  spec: { initContainers?: { name: string }[]; containers: { name: string; env?: { name: string }[] }[] };
}

interface Webhook {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** There is no network of pods here: the API server is told an address on the loopback, and whom to expect there. All else is the chart's. */
async function webhookOf(t: Test, cluster: Cluster, dir: string): Promise<Webhook> {
  const port = await freePort();
  const [certificate, key] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  const ca = await writeCertificate(dir);
  const caBundle = Buffer.from(ca).toString('base64');
  const configuration = (await cluster.api('GET', CONFIGURATION)) as Configuration;
  for (const each of configuration.webhooks)
    each.clientConfig = { url: `https://127.0.0.1:${port}/inject`, caBundle };
  await cluster.api('PUT', CONFIGURATION, configuration);
  const settings = (
    (await cluster.api('GET', '/api/v1/namespaces/layby-system/configmaps/layby-inject')) as {
      data: Record<string, string>;
    }
  ).data['settings.yaml']!;
  const file = join(dir, 'settings.yaml');
  await run(['sh', '-c', 'printf %s "$1" > "$2"', '-', settings, file]);
  let stop = async () => {};
  t.teardown(() => stop());
  return {
    async start() {
      const child = spawn(
        process.execPath,
        [
          ...[PROGRAM, 'webhook', '--listen', `127.0.0.1:${port}`, '--settings', file],
          ...['--tls-certificate', certificate, '--tls-key', key],
        ],
        { stdio: ['ignore', 'ignore', 'pipe'] },
      );
      const forget = endsWithTheRig(() => child.kill('SIGKILL'));
      stop = async () => {
        forget();
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGKILL');
        await once(child, 'exit');
      };
      for await (const line of child.stderr) if (String(line).includes('"ready"')) break;
      child.stderr.resume();
    },
    stop: () => stop(),
  };
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
  await helm(['install', 'layby', CHART, '-n', 'layby-system', '--create-namespace'], {
    KUBECONFIG: cluster.kubeconfig,
  });
  const webhook = await webhookOf(t, cluster, dir);
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
  await webhook.start();
  while (own(await create('apps', podNamed('first'))).length === 0) {
    await kubectl(['delete', 'pod', '-n', 'apps', 'first', '--grace-period=0', '--force']);
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

  await webhook.stop();
  await t.rejects(create('apps', podNamed('away')), /failed calling webhook "namespace\.inject\.layby\.dev"/);
  t.same(own(await create('others', podNamed('away'))), [], 'without the webhook the others are made');
  t.same(own(await create('apps', podNamed('away-not', label('false')))), []);
  await webhook.start();
  t.same(own(await create('apps', podNamed('back'))), both);
});
