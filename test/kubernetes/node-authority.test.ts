// Edge nodes with authorities of their own, below roots whose keys only the cluster part has: with the accounts of the chart and no other rights,
// against a real API server. Calls are TLS handshakes between the listener of one node and a certificate of another.

import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { Authority, type Saved } from '../../src/identity/authority.ts';
import { NodeAuthority } from '../../src/identity/node-authority.ts';
import { DEFAULT_TRUST_DOMAIN, sidecarId } from '../../src/identity/spiffe.ts';
import { kubeconfigAccess } from '../../src/policy/sources/kubernetes/access.ts';
import { Api } from '../../src/policy/sources/kubernetes/api.ts';
import type { Report } from '../../src/policy/sources/kubernetes/report.ts';
import { noHelm } from '../rig/helm.ts';
import { until } from '../rig/kubernetes/chart.ts';
import { type Cluster, noKubernetes, startCluster, writeKubeconfig } from '../rig/kubernetes/cluster.ts';
import { installChart } from '../rig/kubernetes/cluster-part.ts';
import { installCrds } from '../rig/kubernetes/crds.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { NAMESPACE, startAggregator, startSigner } from './aggregator.ts';
import { clusterPlane } from './mesh.ts';

t.setTimeout(300_000);

const SECRET = `/api/v1/namespaces/${NAMESPACE}/secrets/layby-cluster-authority`;
const MERGE = 'application/merge-patch+json';
const reportPath = (node: string) => `/apis/layby.dev/v1alpha1/namespaces/${NAMESPACE}/reports/${node}`;

async function installed(t: Test): Promise<{ cluster: Cluster; dir: string; kubeconfig: string }> {
  const dir = testdir(t);
  const cluster = await startCluster({ dir: join(dir, 'cluster') });
  t.teardown(() => cluster.close());
  await installCrds(cluster);
  await installChart(cluster, '--set', 'inject.enabled=false,validate.enabled=false');
  const kubeconfig = join(dir, 'cluster-part.kubeconfig');
  await writeKubeconfig(kubeconfig, cluster, await cluster.tokenOf(NAMESPACE, 'layby-cluster'));
  return { cluster, dir, kubeconfig };
}

interface EdgeNode {
  node: string;
  /** Of the identity. */
  dir: string;
  port: number;
  /** With the account of its edge pod. */
  api: Api;
}

/** A control plane as in the edge pod of a node, with a token that is bound to it. */
async function edgeNode(t: Test, cluster: Cluster, dir: string, node: string): Promise<EdgeNode> {
  await cluster.api('POST', '/api/v1/nodes', { metadata: { name: node } });
  const pod = (await cluster.api('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, {
    metadata: { name: `edge-of-${node}` },
    spec: {
      ...{ nodeName: node, serviceAccountName: 'layby-edge' },
      containers: [{ name: 'one', image: 'none' }],
    },
  })) as { metadata: { name: string; uid: string } };
  const { name, uid } = pod.metadata;
  const kubeconfig = join(dir, `${node}.kubeconfig`);
  const token = await cluster.tokenOf(NAMESPACE, 'layby-edge', { pod: { name, uid } });
  await writeKubeconfig(kubeconfig, cluster, token);
  const port = await freePort();
  const at = join(dir, node);
  await clusterPlane(t, at, {
    kubeconfig,
    kubernetes: { kubeconfig, node, reportNamespace: NAMESPACE, authorityLook: 500 },
    xdsTls: { host: '127.0.0.1', port },
  });
  const api = new Api(() => kubeconfigAccess(kubeconfig));
  t.teardown(() => api.close());
  return { node, dir: join(await identityIn(at), ''), port, api };
}

/** Where the rig's control plane keeps it. */
async function identityIn(dir: string): Promise<string> {
  const found = async (): Promise<string | undefined> =>
    (await readdir(dir, { recursive: true }))
      .filter((each) => each.endsWith('identity/intermediate.json'))
      .map((each) => join(dir, each, '..'))[0];
  return until(found);
}

const reportOf = async (cluster: Cluster, node: string): Promise<Report> =>
  (await cluster.api('GET', reportPath(node))) as Report;

const open = ({ dir, node }: EdgeNode) => NodeAuthority.open(dir, DEFAULT_TRUST_DOMAIN, node);

const untilSigned = async (...nodes: EdgeNode[]): Promise<void> => {
  for (const node of nodes)
    await until(async () => {
      const saved = JSON.parse(await readFile(join(node.dir, 'intermediate.json'), 'utf8'));
      return saved.certificate !== undefined || undefined;
    });
};

/** `from` calls the listener of `to`; rejects where one does not trust the other. */
async function call(from: EdgeNode, to: EdgeNode): Promise<void> {
  const authority = await open(from);
  const { certificate, key } = await authority.issue(sidecarId(DEFAULT_TRUST_DOMAIN, 'camera'), 3_600_000);
  const socket = connect({
    ...{ host: '127.0.0.1', port: to.port, cert: certificate, key, ca: authority.bundle },
    ...{ ALPNProtocols: ['h2'], checkServerIdentity: () => undefined },
  });
  try {
    await once(socket, 'secureConnect');
    // In TLS 1.3 the server's refusal comes after that; what it says first here are its settings.
    const [first] = (await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => [])])) as [
      Buffer?,
    ];
    if (!first) throw new Error('refused');
  } finally {
    socket.destroy();
  }
}

const both = async (one: EdgeNode, other: EdgeNode): Promise<void> => {
  await call(one, other);
  await call(other, one);
};

const untilTrusted = (one: EdgeNode, other: EdgeNode) =>
  until(() =>
    both(one, other).then(
      () => true,
      () => undefined,
    ),
  );

const savedIn = async (cluster: Cluster): Promise<Saved> => {
  const { data } = (await cluster.api('GET', SECRET)) as { data: Record<string, string> };
  return JSON.parse(Buffer.from(data['authority.json']!, 'base64').toString()) as Saved;
};

const hasKeyOf = async ({ dir }: EdgeNode, { roots }: Saved): Promise<boolean> => {
  const texts = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'utf8')));
  return roots.some(({ key }) => texts.some((text) => text.includes(JSON.stringify(key).slice(1, -1))));
};

t.test(
  'nodes trust one another without any setup, and none has the roots',
  { skip: noKubernetes || noHelm },
  async (t) => {
    const { cluster, dir, kubeconfig } = await installed(t);
    const { aggregator } = startAggregator(t, kubeconfig, 'cluster-part');
    startSigner(t, kubeconfig, aggregator);
    const one = await edgeNode(t, cluster, dir, 'truck-1');
    const other = await edgeNode(t, cluster, dir, 'truck-2');
    await untilSigned(one, other);
    await untilTrusted(one, other);

    await t.test('no key of a root is on the disk of a node, nor may its account read it', async (t) => {
      const mesh = await savedIn(cluster);
      for (const node of [one, other]) {
        t.equal(await hasKeyOf(node, mesh), false);
        t.same(await readdir(node.dir), ['intermediate.json']);
        await t.rejects(node.api.get(SECRET), { message: /403/ });
        await t.rejects(node.api.get(SECRET.slice(0, SECRET.lastIndexOf('/'))), { message: /403/ });
      }
      t.notMatch(JSON.stringify(await reportOf(cluster, one.node)), /PRIVATE KEY/);
    });

    await t.test("an account of an edge node writes neither its status nor another's", async (t) => {
      const before = await reportOf(cluster, one.node);
      const status = { roots: ['mine'] };
      for (const node of [one.node, other.node])
        await t.rejects(one.api.patch(`${reportPath(node)}/status`, { status }), { message: /403/ }, node);
      await t.rejects(one.api.patch(reportPath(other.node), { certificateRequest: 'mine' }), {
        message: /403/,
      });
      await one.api.patch(reportPath(one.node), { status });
      t.same((await reportOf(cluster, one.node)).status, before.status, 'nor beside what it may write');
    });

    await t.test('a request that is not right is refused in the status, and the node goes on', async (t) => {
      const { certificateRequest, status } = await reportOf(cluster, one.node);
      await one.api.patch(reportPath(one.node), { certificateRequest: 'none' });
      const refused = await until(async () => {
        const report = await reportOf(cluster, one.node);
        return report.status?.problem === undefined ? undefined : report;
      });
      t.match(refused.status, { problem: /no certificate is signed for the node/ });
      t.equal(refused.status?.certificate, status?.certificate);
      await both(one, other);
      await one.api.patch(reportPath(one.node), { certificateRequest });
      await until(async () => ((await reportOf(cluster, one.node)).status?.problem ? undefined : true));
    });

    await t.test('an upgrade from a copied root removes the key', async (t) => {
      const mesh = await savedIn(cluster);
      const at = join(dir, 'truck-3');
      // Where it is depends on the rig; so as the first node has it.
      const below = one.dir.slice(join(dir, 'truck-1').length);
      await mkdir(join(at, below), { recursive: true });
      await writeFile(join(at, below, 'authority.json'), `${JSON.stringify(mesh)}\n`);
      const copied = await Authority.open(join(at, below), DEFAULT_TRUST_DOMAIN);
      const upgraded = await edgeNode(t, cluster, dir, 'truck-3');
      await untilSigned(upgraded);
      await until(async () => ((await readdir(upgraded.dir)).includes('authority.json') ? undefined : true));
      t.equal(await hasKeyOf(upgraded, mesh), false);
      await untilTrusted(one, upgraded);
      t.ok(upgraded && (await open(upgraded)).bundle.includes(copied.bundle.trim()));
    });

    await t.test('rotation of the roots keeps calls going', async (t) => {
      const mesh = join(dir, 'mesh');
      await mkdir(mesh);
      await writeFile(join(mesh, 'authority.json'), JSON.stringify(await savedIn(cluster)));
      const authority = await Authority.open(mesh, DEFAULT_TRUST_DOMAIN);
      for (const step of ['added', 'signing']) {
        t.equal(await authority.rotate(), step);
        const text = await readFile(join(mesh, 'authority.json'));
        const data = { 'authority.json': text.toString('base64') };
        const before = (await reportOf(cluster, one.node)).status?.certificate;
        await cluster.api('PATCH', SECRET, { data }, MERGE);
        const roots = authority.bundle.match(/BEGIN/g)!.length;
        const deadline = Date.now() + 20_000;
        let arrived = false;
        // Until the listeners have taken it too.
        for (let settled = Number.POSITIVE_INFINITY; Date.now() < settled; await sleep(100)) {
          await both(one, other);
          const known = JSON.parse(await readFile(join(one.dir, 'intermediate.json'), 'utf8'));
          const others = JSON.parse(await readFile(join(other.dir, 'intermediate.json'), 'utf8'));
          const renewed = step === 'added' || known.certificate !== before;
          if (!arrived && renewed && known.roots.length === roots && others.roots.length === roots) {
            arrived = true;
            settled = Date.now() + 11_000;
          }
          if (!arrived && Date.now() > deadline) throw new Error(`${step}: did not arrive`);
        }
      }
      t.pass();
    });
  },
);

t.test('renewal after a third of its life keeps calls going', { skip: noKubernetes || noHelm }, async (t) => {
  const { cluster, dir, kubeconfig } = await installed(t);
  const { aggregator } = startAggregator(t, kubeconfig, 'cluster-part');
  startSigner(t, kubeconfig, aggregator, { life: 45_000 });
  const one = await edgeNode(t, cluster, dir, 'truck-1');
  const other = await edgeNode(t, cluster, dir, 'truck-2');
  await untilSigned(one, other);
  await untilTrusted(one, other);
  const seen = new Set<string>();
  // Longer than the first of them are good for.
  for (const end = Date.now() + 55_000; Date.now() < end; await sleep(200)) {
    await both(one, other);
    seen.add((await reportOf(cluster, one.node)).status!.certificate!);
  }
  t.ok(seen.size >= 3, `${seen.size} certificates`);
});
