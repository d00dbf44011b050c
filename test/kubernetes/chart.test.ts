// The chart, on a real API server with controllers and a scheduler. Nodes are objects only: what would run on them is run elsewhere, as a process
// (test/inject/capture.test.ts) or in a container (test/kubernetes/images.test.ts).

import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { settingsOf } from '../../src/inject/read-settings.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { startCertManager } from '../rig/kubernetes/cert-manager.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { kubernetesProgram } from '../rig/kubernetes/programs.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const CHART = fileURLToPath(new URL('../../manifests/chart', import.meta.url));
const NAMESPACE = 'layby-system';
const skip = noKubernetes || noHelm;

interface Manifest {
  kind: string;
  metadata: { name: string; namespace?: string };
  spec: never;
  data?: Record<string, string>;
  rules?: { verbs: string[]; resources: string[] }[];
}

const template = async (...args: string[]): Promise<Manifest[]> => {
  const text = await helm(['template', 'layby', CHART, '-n', NAMESPACE, '--kube-version', '1.36', ...args]);
  return parseAllDocuments(text)
    .map((each) => each.toJS() as Manifest | null)
    .filter((each) => each !== null);
};

const kindsOf = (manifests: Manifest[]): string[] => [...new Set(manifests.map(({ kind }) => kind))].sort();

t.test(
  'the chart is right by Helm, and a value that does not exist or does not fit is refused',
  { skip: noHelm },
  async (t) => {
    t.match(await helm(['lint', '--strict', CHART]), /0 chart\(s\) failed/);
    await t.rejects(template('--set', 'edge.hostnetwork=true'), /hostnetwork is not allowed/);
    await t.rejects(template('--set', 'edge.ports.xds=70000'), /less than or equal to 65535/);
    await t.rejects(template('--set', 'policy.source=files'), /policy\.configMap names/);
  },
);

t.test('what is switched off is not there, and what is switched on is', { skip: noHelm }, async (t) => {
  const least = await template(
    ...[
      '--set',
      'policy.source=files,policy.configMap=policy,inject.enabled=false,networkPolicy.enabled=false',
    ],
  );
  t.same(kindsOf(least), ['DaemonSet', 'PriorityClass', 'Secret', 'Service', 'ServiceAccount']);
  const most = await template(
    ...[
      '--set',
      'webhooks.certificate=cert-manager,metrics.serviceMonitor.enabled=true,policy.namespace=fleet',
    ],
    ...['--set', 'edge.storeKeySecret=key,edge.authoritySecret=roots,edge.data.persistentVolumeClaim=disk'],
  );
  const kinds = kindsOf(most);
  for (const kind of ['Certificate', 'Issuer', 'ServiceMonitor', 'Role', 'RoleBinding'])
    t.ok(kinds.includes(kind), kind);
  t.notOk(kinds.includes('ClusterRole'), 'of one namespace only');
  t.match(JSON.stringify(most), /"cert-manager\.io\/inject-ca-from":"layby-system\/layby-webhooks"/);
  const settings = most.find(({ kind }) => kind === 'ConfigMap')!.data!['settings.yaml']!;
  t.match(settingsOf(parseAllDocuments(settings)[0]!.toJS(), 'the chart'), { image: /^layby-envoy:/ });
});

t.test(
  'no container of the chart is root but the one that owns the data directory; none writes to its root',
  { skip: noHelm },
  async (t) => {
    for (const { kind, spec } of await template()) {
      if (kind !== 'DaemonSet' && kind !== 'Deployment') continue;
      const pod = (spec as { template: { spec: PodSpec } }).template.spec;
      t.equal(pod.securityContext.runAsNonRoot, true);
      for (const { name, securityContext, resources } of [...(pod.initContainers ?? []), ...pod.containers]) {
        t.match(securityContext, { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false }, name);
        t.match(securityContext, { capabilities: { drop: ['ALL'] } }, name);
        t.equal(securityContext.runAsUser, name === 'own-data' ? 0 : undefined, name);
        if (pod.containers.some((each) => each.name === name)) t.ok(resources?.limits?.memory, name);
      }
    }
  },
);

interface PodSpec {
  securityContext: { runAsNonRoot: boolean };
  initContainers?: {
    name: string;
    securityContext: { runAsUser?: number };
    resources?: { limits?: { memory?: string } };
  }[];
  containers: {
    name: string;
    securityContext: { runAsUser?: number };
    resources?: { limits?: { memory?: string } };
  }[];
}

async function until<T>(ask: () => Promise<T | undefined>, timeout = 60_000): Promise<T> {
  for (const deadline = Date.now() + timeout; ; await sleep(100)) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error('it did not come to be');
  }
}

/** Whether a server that has this pair is whom a client expects that trusts `ca`. */
async function isTrusted(
  pair: { cert: string; key: string },
  ca: string,
  servername: string,
): Promise<boolean> {
  const server = createServer(pair).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: '127.0.0.1', port, ca, servername });
  try {
    await once(socket, 'secureConnect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
    server.close();
  }
}

const pem = (base64: string): string => Buffer.from(base64, 'base64').toString();

async function installed(
  t: Test,
  {
    args = [],
    before = async () => {},
  }: { args?: string[]; before?: (cluster: Cluster, dir: string) => Promise<void> } = {},
): Promise<Cluster> {
  const dir = testdir(t);
  const cluster = await startCluster({
    dir: join(dir, 'cluster'),
    with: ['kube-controller-manager', 'kube-scheduler'],
  });
  t.teardown(() => cluster.close());
  await before(cluster, dir);
  await helm(['install', 'layby', CHART, '-n', NAMESPACE, '--create-namespace', ...args], {
    KUBECONFIG: cluster.kubeconfig,
  });
  return cluster;
}

interface Configuration {
  webhooks: { clientConfig: { caBundle?: string }; failurePolicy: string }[];
}

const CONFIGURATION = {
  mutating: '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/layby-inject',
  validating: '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/layby-validate',
};

t.test(
  'installed, upgraded, uninstalled: pods are where they belong, and keys survive',
  { skip },
  async (t) => {
    const cluster = await installed(t);
    const { kubectl } = cluster;
    const env = { KUBECONFIG: cluster.kubeconfig };
    await addNode(cluster, 'cloud', { labels: { 'node-role.kubernetes.io/control-plane': '' } });
    await addNode(cluster, 'vehicle', { labels: { 'layby.dev/edge': 'true' } });
    const places = await until(async () => {
      const form =
        '{range .items[*]}{.metadata.labels.app\\.kubernetes\\.io/component}={.spec.nodeName} {end}';
      const said = (await kubectl(['get', 'pods', '-n', NAMESPACE, '-o', `jsonpath=${form}`]))
        .trim()
        .split(' ')
        .sort();
      return said.length === 2 && said.every((each) => !each.endsWith('=')) ? said : undefined;
    });
    t.same(places, ['edge=vehicle', 'inject=cloud']);

    const account = `system:serviceaccount:${NAMESPACE}:layby-edge`;
    const may = async (verb: string, what: string) =>
      (
        await kubectl(['auth', 'can-i', verb, ...what.split(' '), '--as', account, '-A']).catch(() => 'no')
      ).trim();
    for (const [verb, what, answer] of [
      ['watch', 'destinations.layby.dev', 'yes'],
      ['patch', 'destinations.layby.dev --subresource=status', 'yes'],
      ['patch', 'destinations.layby.dev', 'no'],
      ['watch', 'services', 'yes'],
      ['watch', 'endpointslices.discovery.k8s.io', 'yes'],
      ['get', 'endpoints', 'no'],
      ['list', 'secrets', 'no'],
      ['list', 'pods', 'no'],
    ] as const)
      t.equal(await may(verb, what), answer, `${verb} ${what}`);

    const secret = async (name: string) =>
      (
        (await cluster.api('GET', `/api/v1/namespaces/${NAMESPACE}/secrets/${name}`)) as {
          data: Record<string, string>;
        }
      ).data;
    const [token, pair] = [await secret('layby-admin'), await secret('layby-webhooks')];
    t.match(pem(token.token!), /^[A-Za-z0-9]{32}$/);
    const config = (await cluster.api('GET', CONFIGURATION.mutating)) as Configuration;
    for (const { clientConfig, failurePolicy } of config.webhooks) {
      t.equal(failurePolicy, 'Fail');
      const own = { cert: pem(pair['tls.crt']!), key: pem(pair['tls.key']!) };
      const ca = pem(clientConfig.caBundle ?? '');
      for (const name of ['layby-inject', 'layby-validate'])
        t.ok(await isTrusted(own, ca, `${name}.${NAMESPACE}.svc`), name);
    }

    await helm(['upgrade', 'layby', CHART, '-n', NAMESPACE, '--set', 'edge.replayRate=8Mbit/s'], env);
    t.same(await secret('layby-admin'), token);
    t.same(await secret('layby-webhooks'), pair);
    const form = '{.spec.template.spec.containers[?(@.name=="queue")].args}';
    t.match(
      await kubectl(['get', 'ds', '-n', NAMESPACE, 'layby-edge', '-o', `jsonpath=${form}`]),
      /--replay-rate=8Mbit\/s/,
    );

    await helm(['uninstall', 'layby', '-n', NAMESPACE], env);
    const kinds =
      'daemonsets,deployments,services,secrets,configmaps,serviceaccounts,clusterroles,clusterrolebindings,priorityclasses,mutatingwebhookconfigurations,validatingwebhookconfigurations,networkpolicies,poddisruptionbudgets';
    t.equal(await kubectl(['get', kinds, '-A', '-l', 'app.kubernetes.io/name=layby', '-o', 'name']), '');
    t.match(
      await kubectl(['get', 'crd', '-o', 'name']),
      /destinations\.layby\.dev/,
      "the policy is not the chart's to remove",
    );
  },
);

t.test(
  'with cert-manager the webhooks have its certificate, and the API server trusts it',
  { skip },
  async (t) => {
    const cluster = await installed(t, {
      args: ['--set', 'webhooks.certificate=cert-manager'],
      before: (cluster, dir) => startCertManager(t, cluster, dir),
    });
    await cluster.kubectl([
      ...['wait', '-n', NAMESPACE, '--for=condition=Ready', 'certificate', 'layby-webhooks', '--timeout=60s'],
    ]);
    const { data } = (await cluster.api('GET', `/api/v1/namespaces/${NAMESPACE}/secrets/layby-webhooks`)) as {
      data: Record<string, string>;
    };
    const pair = { cert: pem(data['tls.crt']!), key: pem(data['tls.key']!) };
    for (const webhooks of ['mutating', 'validating'] as const) {
      const bundles = await until(async () => {
        const config = (await cluster.api('GET', CONFIGURATION[webhooks])) as Configuration;
        const said = config.webhooks.map(({ clientConfig }) => clientConfig.caBundle);
        return said.every((each) => each !== undefined) ? said : undefined;
      });
      for (const bundle of bundles)
        for (const name of ['layby-inject', 'layby-validate'])
          t.ok(await isTrusted(pair, pem(bundle), `${name}.${NAMESPACE}.svc`), `${webhooks}: ${name}`);
    }
  },
);

t.test('the base for kustomize is what the chart says, and kubectl builds it', { skip }, async (t) => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  await run([process.execPath, join(root, 'scripts/kustomize-base.ts'), '--check']);
  const built = parseAllDocuments(
    await run([await kubernetesProgram('kubectl'), 'kustomize', join(root, 'manifests/kustomize/base')]),
  )
    .map((each) => each.toJS() as Manifest)
    .map(({ kind, metadata }) => `${metadata.namespace ?? ''}/${kind}/${metadata.name}`);
  t.ok(built.includes('layby-system/DaemonSet/layby-edge'));
  t.ok(built.includes('/CustomResourceDefinition/destinations.layby.dev'));
  t.equal(new Set(built).size, built.length);
});
