// The chart, on a real API server with controllers and a scheduler. Nodes are objects only: what would run on them is run elsewhere, as a process
// (test/inject/capture.test.ts) or in a container (test/kubernetes/images.test.ts).

import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
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
import { CHART, CONFIGURATION, type Configuration, NAMESPACE } from '../rig/kubernetes/cluster-part.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { kubernetesProgram } from '../rig/kubernetes/programs.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;

interface Manifest {
  kind: string;
  metadata: { name: string; namespace?: string };
  spec: never;
  data?: Record<string, string>;
  rules?: { verbs: string[]; resources: string[] }[];
  roleRef?: { name: string };
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
  t.same(kindsOf(least), ['DaemonSet', 'PriorityClass', 'Service', 'ServiceAccount']);
  const most = await template(
    ...[
      '--set',
      'webhooks.certificate=cert-manager,metrics.serviceMonitor.enabled=true,policy.namespace=fleet',
    ],
    ...[
      '--set',
      'edge.storeKeySecret=key,cluster.authoritySecret=roots,edge.data.persistentVolumeClaim=disk',
    ],
  );
  const kinds = kindsOf(most);
  for (const kind of ['Certificate', 'Issuer', 'ServiceMonitor', 'Role', 'RoleBinding'])
    t.ok(kinds.includes(kind), kind);
  const bound = most
    .filter(({ kind }) => kind === 'ClusterRoleBinding')
    .map(({ roleRef }) => roleRef?.name ?? '');
  const wide = most
    .filter(({ kind, metadata }) => kind === 'ClusterRole' && bound.includes(metadata.name))
    .flatMap(({ rules = [] }) => rules);
  t.same(
    wide.map(({ resources }) => resources),
    [['nodes'], ['nodes']],
    'of policy in one namespace only',
  );
  t.match(JSON.stringify(most), /"cert-manager\.io\/inject-ca-from":"layby-system\/layby-cluster-tls"/);
  const settings = most.find(({ kind }) => kind === 'ConfigMap')!.data!['settings.yaml']!;
  t.match(settingsOf(parseAllDocuments(settings)[0]!.toJS(), 'the chart'), { image: /^layby-envoy:/ });
});

t.test('rendered twice it is the same to the byte: no key is made by Helm', { skip: noHelm }, async (t) => {
  const render = (...args: string[]) =>
    helm(['template', 'layby', CHART, '-n', NAMESPACE, '--kube-version', '1.36', ...args]);
  for (const args of [[], ['--set', 'webhooks.certificate=cert-manager'], ['--is-upgrade']]) {
    const first = await render(...args);
    t.equal(await render(...args), first);
    t.notMatch(first, /^kind: Secret$/m);
    t.notMatch(first, /caBundle/);
  }
  const templates = join(CHART, 'templates');
  for (const file of await readdir(templates))
    t.notMatch(
      // That only refuses, and writes nothing.
      (await readFile(join(templates, file), 'utf8')).replace(/define "layby.keepsNodes".*?\n\n/s, ''),
      /genCA|genSelfSigned|genSignedCert|genPrivateKey|rand[A-Z]|lookup|uuidv4|\bnow\b.*}}/,
      file,
    );
});

t.test('the edge pod serves no webhook and has none of its keys', { skip: noHelm }, async (t) => {
  for (const args of [[], ['--set', 'webhooks.certificate=cert-manager']]) {
    const edge = (await template(...args)).find(({ kind }) => kind === 'DaemonSet');
    t.notMatch(JSON.stringify(edge), /webhook|validate|cluster-tls/);
  }
});

t.test('pull secrets and resources of injected pods are values', { skip: noHelm }, async (t) => {
  const made = await template(
    ...['--set', 'images.pullSecrets[0].name=registry,images.pullSecrets[1].name=mirror'],
    ...['--set', 'inject.settings.captureMemory=24Mi'],
  );
  const text = made.find(({ kind }) => kind === 'ConfigMap')!.data!['settings.yaml']!;
  const settings = settingsOf(parseAllDocuments(text)[0]!.toJS(), 'the chart');
  t.equal(settings.imagePullSecrets, 'registry,mirror');
  t.equal(settings.captureMemory, '24Mi');
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

t.test(
  'installed, upgraded, uninstalled: pods are where they belong, and keys survive',
  { skip },
  async (t) => {
    const cluster = await installed(t);
    const { kubectl } = cluster;
    const env = { KUBECONFIG: cluster.kubeconfig };
    // Only an edge node: the cluster part waits for another.
    await addNode(cluster, 'vehicle', { labels: { 'node-restriction.kubernetes.io/layby-edge': 'true' } });
    const conditions = await until(async () => {
      const form = '{.items[*].status.conditions[?(@.type=="PodScheduled")].reason}';
      const select = 'app.kubernetes.io/component=cluster';
      const said = await kubectl(['get', 'pods', '-n', NAMESPACE, '-l', select, '-o', `jsonpath=${form}`]);
      return said.trim().split(' ').length === 2 ? said : undefined;
    });
    t.equal(conditions, 'Unschedulable Unschedulable');
    for (const name of ['cloud-1', 'cloud-2']) await addNode(cluster, name);
    const places = await until(async () => {
      const form =
        '{range .items[*]}{.metadata.labels.app\\.kubernetes\\.io/component}={.spec.nodeName} {end}';
      const said = (await kubectl(['get', 'pods', '-n', NAMESPACE, '-o', `jsonpath=${form}`]))
        .trim()
        .split(' ')
        .sort();
      return said.length === 3 && said.every((each) => !each.endsWith('=')) ? said : undefined;
    });
    t.same(places, ['cluster=cloud-1', 'cluster=cloud-2', 'edge=vehicle']);

    const may = async (part: string, verb: string, what: string, where: string[]) => {
      const as = `system:serviceaccount:${NAMESPACE}:layby-${part}`;
      const asked = kubectl(['auth', 'can-i', verb, ...what.split(' '), '--as', as, ...where]);
      return (await asked.catch(() => 'no')).trim();
    };
    for (const [verb, what, answer] of [
      ['create', 'secrets', 'yes'],
      ['get', 'secrets/layby-cluster-tls', 'yes'],
      ['update', 'secrets/layby-cluster-tls', 'yes'],
      ['get', 'secrets/other', 'no'],
      ['list', 'secrets', 'no'],
      ['delete', 'secrets/layby-cluster-tls', 'no'],
      ['patch', 'mutatingwebhookconfigurations/layby-inject', 'yes'],
      ['patch', 'validatingwebhookconfigurations/layby-validate', 'yes'],
      ['patch', 'mutatingwebhookconfigurations/other', 'no'],
      ['create', 'mutatingwebhookconfigurations', 'no'],
      ['update', 'leases.coordination.k8s.io/layby-cluster', 'yes'],
      ['update', 'leases.coordination.k8s.io/other', 'no'],
      ['patch', 'destinations.layby.dev --subresource=status', 'yes'],
      ['patch', 'destinations.layby.dev', 'no'],
      ['watch', 'nodes', 'yes'],
      ['create', 'events.events.k8s.io', 'yes'],
      ['list', 'pods', 'no'],
    ] as const)
      t.equal(await may('cluster', verb, what, ['-n', NAMESPACE]), answer, `cluster: ${verb} ${what}`);
    for (const [verb, what, answer] of [
      ['watch', 'destinations.layby.dev', 'yes'],
      ['patch', 'destinations.layby.dev --subresource=status', 'no'],
      ['get', 'nodes', 'yes'],
      ['list', 'nodes', 'no'],
      ['list', 'reports.layby.dev', 'no'],
      ['patch', 'destinations.layby.dev', 'no'],
      ['watch', 'services', 'yes'],
      ['watch', 'endpointslices.discovery.k8s.io', 'yes'],
      ['get', 'endpoints', 'no'],
      ['list', 'secrets', 'no'],
      ['list', 'pods', 'no'],
    ] as const)
      t.equal(await may('edge', verb, what, ['-A']), answer, `edge: ${verb} ${what}`);

    const config = (await cluster.api('GET', CONFIGURATION.mutating)) as Configuration;
    for (const { failurePolicy } of config.webhooks) t.equal(failurePolicy, 'Fail');
    const { webhooks } = (await cluster.api('GET', CONFIGURATION.validating)) as Configuration;
    t.same(
      webhooks.map(({ failurePolicy }) => failurePolicy).sort(),
      ['Fail', 'Ignore'],
      'what is deleted is deleted without an answer too',
    );

    await helm(['upgrade', 'layby', CHART, '-n', NAMESPACE, '--set', 'edge.replayRate=8Mbit/s'], env);
    const form = '{.spec.template.spec.containers[?(@.name=="queue")].args}';
    t.match(
      await kubectl(['get', 'ds', '-n', NAMESPACE, 'layby-edge', '-o', `jsonpath=${form}`]),
      /--replay-rate=8Mbit\/s/,
    );

    await helm(['uninstall', 'layby', '-n', NAMESPACE], env);
    const kinds =
      'daemonsets,deployments,services,secrets,configmaps,serviceaccounts,clusterroles,clusterrolebindings,priorityclasses,mutatingwebhookconfigurations,validatingwebhookconfigurations,networkpolicies,poddisruptionbudgets,roles,rolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings';
    t.equal(await kubectl(['get', kinds, '-A', '-l', 'app.kubernetes.io/name=layby', '-o', 'name']), '');
    t.match(
      await kubectl(['get', 'crd', '-o', 'name']),
      /destinations\.layby\.dev/,
      "the policy is not the chart's to remove",
    );
  },
);

t.test(
  'with cert-manager the API server trusts its certificate, and goes on when that is renewed',
  { skip },
  async (t) => {
    const cluster = await installed(t, {
      args: ['--set', 'webhooks.certificate=cert-manager'],
      before: (cluster, dir) => startCertManager(t, cluster, dir),
    });
    const secret = `/api/v1/namespaces/${NAMESPACE}/secrets/layby-cluster-tls`;
    const pairIn = async (): Promise<{ cert: string; key: string } | undefined> => {
      const { data } = (await cluster.api('GET', secret)) as { data: Record<string, string> };
      return data['tls.crt'] && data['tls.key']
        ? { cert: pem(data['tls.crt']), key: pem(data['tls.key']) }
        : undefined;
    };
    const bundlesIn = async (): Promise<string[] | undefined> => {
      const configs = await Promise.all(
        Object.values(CONFIGURATION).map(async (path) => (await cluster.api('GET', path)) as Configuration),
      );
      const said = configs.flatMap(({ webhooks }) =>
        webhooks.map(({ clientConfig }) => clientConfig.caBundle),
      );
      return said.every((each) => each !== undefined) ? said : undefined;
    };
    const first = await until(() => pairIn().catch(() => undefined));
    const bundles = await until(bundlesIn);
    const host = `layby-cluster.${NAMESPACE}.svc`;
    for (const bundle of bundles) t.ok(await isTrusted(first, pem(bundle), host));

    const status = `/apis/cert-manager.io/v1/namespaces/${NAMESPACE}/certificates/layby-cluster-tls/status`;
    const issuing = {
      type: 'Issuing',
      status: 'True',
      reason: 'ManuallyTriggered',
      message: 'as cmctl renew',
      lastTransitionTime: new Date().toISOString(),
    };
    const { status: before } = (await cluster.api('GET', status)) as { status: { conditions: object[] } };
    const conditions = [...before.conditions, issuing];
    await cluster.api('PATCH', status, { status: { conditions } }, 'application/merge-patch+json');
    const renewed = await until(async () => {
      const pair = await pairIn();
      return pair && pair.cert !== first.cert ? pair : undefined;
    });
    t.not(renewed.key, first.key);
    for (const bundle of bundles)
      t.ok(await isTrusted(renewed, pem(bundle), host), 'by what was known before');
    for (const bundle of (await bundlesIn()) ?? [])
      t.ok(await isTrusted(first, pem(bundle), host), 'a pod that has the old one is still believed');
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

t.test(
  'roots go to the cluster part, and to edge nodes only where there is none',
  { skip: noHelm },
  async (t) => {
    await t.rejects(template('--set', 'edge.authoritySecret=roots'), /cluster\.authoritySecret instead/);
    const files = 'policy.source=files,policy.configMap=policy';
    await t.rejects(template('--set', `${files},cluster.authoritySecret=roots`), /edge\.authoritySecret/);
    const secrets = async (...args: string[]) =>
      (await template(...args))
        .filter(({ kind }) => kind === 'Role')
        .flatMap(
          (role) =>
            (
              role as unknown as {
                rules: { resources: string[]; resourceNames?: string[]; verbs: string[] }[];
              }
            ).rules,
        )
        .filter(({ resources }) => resources.includes('secrets'))
        .map(({ resourceNames = [], verbs }) => `${resourceNames} ${verbs}`);
    const managed = 'webhooks.certificate=cert-manager';
    t.same(await secrets('--set', managed), [' create', 'layby-cluster-authority get']);
    t.same(await secrets('--set', `${managed},cluster.authoritySecret=roots`), ['roots get']);
    const edge = (await template()).find(({ kind }) => kind === 'DaemonSet');
    t.ok(edge);
    t.notMatch(JSON.stringify(edge), /authority/);
  },
);
