// The cluster part as a process, asked by a real API server: its certificate, whom the API server trusts, and what it judges.

import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { WebhookCertificate } from '../../src/admission/webhook-certificate.ts';
import { SERVER_LIFE_MS } from '../../src/admission/webhook-tls.ts';
import { kubeconfigAccess } from '../../src/policy/sources/kubernetes/access.ts';
import { Api } from '../../src/policy/sources/kubernetes/api.ts';
import { logger } from '../../src/telemetry/log.ts';
import { noHelm } from '../rig/helm.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import {
  type ClusterPart,
  CONFIGURATION,
  type Configuration,
  installChart,
  NAMESPACE,
  pointWebhooks,
  startClusterPart,
} from '../rig/kubernetes/cluster-part.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { apply, document } from './mesh.ts';

t.setTimeout(300_000);

const skip = noKubernetes || noHelm;
const SECRET = `/api/v1/namespaces/${NAMESPACE}/secrets/layby-cluster-tls`;

interface Secret {
  metadata: { resourceVersion: string };
  data: Record<string, string>;
}

const secretOf = async (cluster: Cluster): Promise<Secret> => (await cluster.api('GET', SECRET)) as Secret;

async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  let last: unknown;
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(100)) {
    const answer = await ask().catch((error: unknown) => {
      last = error;
      return undefined;
    });
    if (answer !== undefined) return answer;
  }
  throw new Error(`${what}: not within a minute; ${String(last)}`);
}

const bundlesOf = async (cluster: Cluster): Promise<(string | undefined)[]> => {
  const all = await Promise.all(
    Object.values(CONFIGURATION).map(async (path) => (await cluster.api('GET', path)) as Configuration),
  );
  return all.flatMap(({ webhooks }) => webhooks.map(({ clientConfig }) => clientConfig.caBundle));
};

async function prepared(t: Test): Promise<{ cluster: Cluster; dir: string }> {
  const dir = testdir(t);
  const cluster = await startCluster({ dir: join(dir, 'cluster'), with: ['kube-controller-manager'] });
  t.teardown(() => cluster.close());
  await installChart(cluster);
  await cluster.kubectl(['create', 'namespace', 'apps']);
  await cluster.kubectl(['label', 'namespace', 'apps', 'layby.dev/inject=true']);
  await until('the account', async () => cluster.kubectl(['get', 'sa', '-n', 'apps', 'default']));
  return { cluster, dir };
}

/** Resolves when pods are made with a sidecar; until then they are refused, or made without one. */
const injects = (cluster: Cluster): Promise<true> =>
  until('a pod with a sidecar', async () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe' },
      spec: { containers: [{ name: 'app', image: 'camera:1' }] },
    };
    const made = JSON.parse(
      await cluster.kubectl(
        ['create', '--dry-run=server', '-n', 'apps', '-o', 'json', '-f', '-'],
        JSON.stringify(pod),
      ),
    ) as { spec: { initContainers?: { name: string }[] } };
    return made.spec.initContainers?.some(({ name }) => name === 'layby-sidecar') ? true : undefined;
  });

const isReady = (part: ClusterPart) =>
  until('readiness', async () => (part.log().includes('caBundle written') ? true : undefined));

t.test(
  'it makes its certificate, the API server trusts it, and does so again after somebody has taken that out',
  { skip },
  async (t) => {
    const { cluster, dir } = await prepared(t);
    await pointWebhooks(cluster, await freePort());
    t.same(await bundlesOf(cluster), [undefined, undefined, undefined, undefined], 'as the chart is');
    const part = await startClusterPart(t, cluster, dir);
    await pointWebhooks(cluster, part.port);
    await injects(cluster);
    const made = await secretOf(cluster);
    t.same(Object.keys(made.data).sort(), ['ca.crt', 'ca.key', 'tls.crt', 'tls.key']);

    await t.test('GitOps applies the configurations as they are in Git', async (t) => {
      await pointWebhooks(cluster, part.port);
      await injects(cluster);
      for (const bundle of await bundlesOf(cluster)) t.equal(bundle, made.data['ca.crt']);
    });

    await t.test('a second replica has the same, and pods go on', async (t) => {
      const other = await startClusterPart(t, cluster, dir);
      t.same(await secretOf(cluster), made);
      await pointWebhooks(cluster, other.port);
      await part.kill9();
      await injects(cluster);
    });

    await t.test('a Secret that somebody deletes comes back, by another that takes over', async (t) => {
      const last = await startClusterPart(t, cluster, dir);
      await pointWebhooks(cluster, last.port);
      await injects(cluster);
      await cluster.api('DELETE', SECRET);
      const back = await until('the Secret', () => secretOf(cluster));
      t.same(back.data, made.data, 'with what is in use');
      await injects(cluster);
    });
  },
);

t.test('two replicas that start at once have one certificate', { skip }, async (t) => {
  const { cluster, dir } = await prepared(t);
  const parts = await Promise.all([0, 1].map(() => startClusterPart(t, cluster, dir)));
  await Promise.any(parts.map(isReady));
  for (const { port } of parts) {
    await pointWebhooks(cluster, port);
    await injects(cluster);
  }
});

t.test('renewals keep trust: the API server goes on asking through all of them', { skip }, async (t) => {
  const { cluster } = await prepared(t);
  const { serveAdmission } = await import('../../src/admission/server.ts');
  const { injectReviewer } = await import('../../src/inject/review.ts');
  const { DEFAULT_SETTINGS } = await import('../../src/inject/settings.ts');
  const api = new Api(() => kubeconfigAccess(cluster.kubeconfig));
  t.teardown(() => api.close());
  const log = logger('cluster');
  const port = await freePort();
  let now = Date.now();
  let served: Awaited<ReturnType<typeof serveAdmission>> | undefined;
  const certificate = new WebhookCertificate({
    ...{ api, namespace: NAMESPACE, secret: 'layby-cluster-tls', hosts: ['127.0.0.1'], log },
    configurations: [{ kind: 'MutatingWebhookConfiguration', name: 'layby-inject' }],
    now: () => now,
    onPair: async (pair) => {
      if (served) return served.replace(pair);
      const listen = { host: '127.0.0.1', port };
      const reviewers = { '/inject': injectReviewer(DEFAULT_SETTINGS) };
      served = await serveAdmission({ listen, pair, reviewers, log });
    },
  });
  t.teardown(() => {
    certificate.close();
    served?.close();
  });
  await certificate.look();
  await pointWebhooks(cluster, port);
  await certificate.look();
  await injects(cluster);
  const certificates = new Set<string>();
  const bundles = new Set<string>();
  // To the first new authority, and to the renewal after it.
  for (const end = now + 30 * SERVER_LIFE_MS; now < end; now += SERVER_LIFE_MS * 0.7) {
    await certificate.look();
    const { data } = await secretOf(cluster);
    certificates.add(data['tls.crt']!);
    bundles.add(data['ca.crt']!);
    // The API server keeps its connection: a new one meets the new certificate.
    const [ca] = await bundlesOf(cluster);
    const socket = connect({ host: '127.0.0.1', port, ca: Buffer.from(ca!, 'base64') });
    await once(socket, 'secureConnect');
    socket.destroy();
    await cluster.kubectl(
      ['create', '--dry-run=server', '-n', 'apps', '-f', '-'],
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'steady' },
        spec: { containers: [{ name: 'app', image: 'camera:1' }] },
      }),
    );
  }
  t.ok(certificates.size > 30, `${certificates.size} certificates`);
  t.equal(bundles.size, 2, 'a new authority beside the old one');
});

t.test('it judges policy objects, and one that hangs lets none pass unjudged', { skip }, async (t) => {
  const { cluster, dir } = await prepared(t);
  const part = await startClusterPart(t, cluster, dir);
  await pointWebhooks(cluster, part.port);
  const url = 'http://127.0.0.1:9';
  await until('a judgement', () =>
    apply(cluster, document('wrong', url, { answerTimeout: '1s' })).then(
      async () => {
        await cluster.kubectl(['delete', 'destination', 'wrong']);
        return undefined;
      },
      (error: Error) => (/expected at least 2s, but found 1s/.test(error.message) ? true : undefined),
    ),
  );
  await apply(cluster, document('api', url));
  await until('a judgement beside the others', () =>
    apply(cluster, document('thief', url, { hosts: ['API.example'] })).then(
      async () => {
        await cluster.kubectl(['delete', 'destination', 'thief']);
        return undefined;
      },
      (error: Error) =>
        /already claimed by destination default\/api/.test(error.message) ? true : undefined,
    ),
  );
  process.kill(part.pid, 'SIGSTOP');
  await t.rejects(apply(cluster, document('unjudged', url)), /failed calling webhook "validate\.layby\.dev"/);
  await cluster.kubectl(['delete', 'destination', 'api']);
  process.kill(part.pid, 'SIGCONT');
  await until('edits again', () => apply(cluster, document('unjudged', url)));
});
