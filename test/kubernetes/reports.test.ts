// What control planes report to their cluster: each one object of its own, and no other's. And that it goes with its node.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Api } from '../../src/policy/sources/kubernetes/api.ts';
import type { Report } from '../../src/policy/sources/kubernetes/report.ts';
import { ReportWriter, type ReportWriterOptions } from '../../src/policy/sources/kubernetes/report-writer.ts';
import { edgeTransport } from '../../src/queue/control.ts';
import { httpServer, sidecar } from '../control-plane/sidecar.ts';
import { MODES } from '../control-plane/xds-client.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { noKubernetes, writeKubeconfig } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { testdir } from '../rig/testdir.ts';
import { apply, clusterPlane, document, policyCluster } from './mesh.ts';

t.setTimeout(300_000);

const CHART = fileURLToPath(new URL('../../manifests/chart', import.meta.url));
const SYSTEM = 'layby-system';
const PATIENCE_MS = 60_000;

type Stored = Report & {
  metadata: Report['metadata'] & { ownerReferences?: { kind: string; name: string; uid: string }[] };
};

async function until<T>(ask: () => Promise<T | undefined>, what: string, patience = PATIENCE_MS): Promise<T> {
  let last: unknown;
  for (const deadline = Date.now() + patience; ; await sleep(50)) {
    const answer = await ask().catch((error: unknown) => {
      last = error;
      return undefined;
    });
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; ${last}`);
  }
}

t.test('the reports of control planes', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir, ['kube-controller-manager']);
  const port = await httpServer(t, (_, response) => response.end('upstream'));
  const url = `http://localhost:${port}`;
  for (const name of ['edge-1', 'edge-2', 'truck-1', 'truck-2']) await addNode(cluster, name);

  const reportPath = (node: string, namespace = 'default') =>
    `/apis/layby.dev/v1alpha1/namespaces/${namespace}/reports/${node}`;
  const reportOf = async (node: string) => (await cluster.api('GET', reportPath(node))) as Stored;
  const untilReport = (node: string, is: (report: Stored) => boolean, what = String(is)) =>
    until(async () => {
      const report = await reportOf(node);
      return is(report) ? report : undefined;
    }, what);
  const objectOf = ({ objects }: Report, name: string) => objects.find((each) => each.name === name);

  const first = await clusterPlane(t, join(dir, 'first'), { kubeconfig, node: 'edge-1' });
  const second = await clusterPlane(t, join(dir, 'second'), { kubeconfig, node: 'edge-2' });

  await sidecar(t, MODES[2]!, dir, first.xds);

  await t.test('two control planes write one object each, called and owned as their nodes', async (t) => {
    await apply(cluster, document('api', url));
    for (const node of ['edge-1', 'edge-2']) {
      const report = await untilReport(node, (each) => objectOf(each, 'api') !== undefined);
      const { uid } = ((await cluster.api('GET', `/api/v1/nodes/${node}`)) as Stored).metadata;
      t.match(report.metadata.ownerReferences, [{ kind: 'Node', name: node, uid }]);
      t.match(report, {
        version: /^\d+\.\d+\.\d+/,
        queue: false,
        objects: [
          { kind: 'Destination', namespace: 'default', name: 'api', observedGeneration: 1, accepted: true },
        ],
      });
    }
    const list = (await cluster.kubectl(['get', 'reports'])).trim().split('\n');
    t.match(list[0], /^NAME +VERSION +QUEUE +HELD +OBSERVED +AGE/);
    t.equal(list.length, 3);
    t.notMatch(await cluster.kubectl(['get', 'layby']), /edge-1/, 'they are no policy');
    const { status } = (await cluster.api(
      'GET',
      '/apis/layby.dev/v1alpha1/namespaces/default/destinations/api',
    )) as { status?: { conditions: { reason: string }[] } };
    t.ok(
      status?.conditions.every(({ reason }) => reason === 'Pending'),
      'the object itself is not written',
    );
  });

  await t.test('a wrong object and what is wrong with it', async (t) => {
    await apply(cluster, document('bad', url, { answerTimeout: '1s' }));
    for (const node of ['edge-1', 'edge-2']) {
      const report = await untilReport(node, (each) => objectOf(each, 'bad')?.accepted === false);
      t.equal(objectOf(report, 'bad')?.message, 'spec.answerTimeout: expected at least 2s, but found 1s');
      t.equal(objectOf(report, 'api')?.accepted, true);
    }
  });

  await t.test("Envoy's refusal is in the report of its node and in no other", async (t) => {
    await apply(cluster, document('odd', url, { envoy: { cluster: { lb_policy: 'CLUSTER_PROVIDED' } } }));
    const report = await untilReport('edge-1', (each) => objectOf(each, 'odd')?.nack !== undefined);
    t.match(objectOf(report, 'odd'), { nack: /^sidecar truck-7: .*odd/s, sidecars: 1, accepted: true });
    t.equal(objectOf(report, 'api')?.nack, undefined);
    const other = await untilReport('edge-2', (each) => objectOf(each, 'odd') !== undefined);
    t.equal(objectOf(other, 'odd')?.nack, undefined);
    await cluster.kubectl(['delete', 'destination', 'odd', 'bad']);
    await untilReport('edge-1', ({ objects: [one, ...more] }) => one?.programmed === 1 && more.length === 0);
  });

  await t.test('what the queue has stored, orphans too, and that it has gone', async (t) => {
    const lane = (destination: string, entries: number, dead = 0) => ({
      ...{ destination, entries, dead, bytes: 1, staged: 0, quarantined: 0, oldest: 0 },
      ...{ pending: false, failing: false, generation: 1, reached: 0, former: [] },
    });
    const transport = edgeTransport(second.xds);
    const call = transport.attach();
    call.on('data', () => {});
    call.on('error', () => {});
    const lanes = [lane('api', 3, 2), lane('former', 4)];
    call.write({ pid: 1, policy_version: '', lanes } as never);
    const report = await untilReport('edge-2', ({ queue }) => queue);
    t.match(objectOf(report, 'api'), { entries: 5, dead: 2 });
    t.strictSame(report.orphans, [{ destination: 'former', entries: 4 }]);
    call.cancel();
    transport.close();
    const without = await untilReport('edge-2', ({ queue }) => !queue);
    t.match(objectOf(without, 'api'), { entries: 5 }, 'as it was known last');
  });

  await t.test(
    'nothing is written where nothing changes, and nothing for the status of an object',
    async (t) => {
      const version = async () => (await reportOf('edge-1')).metadata.resourceVersion;
      const before = await version();
      await cluster.kubectl(['label', 'destination', 'api', 'some=label']);
      const status = { status: { conditions: [] } };
      const path = '/apis/layby.dev/v1alpha1/namespaces/default/destinations/api/status';
      await cluster.api('PATCH', path, status, 'application/merge-patch+json');
      await sleep(3_000);
      t.equal(await version(), before);
      const writes = await first.metric('layby_kubernetes_report_writes_total');
      await apply(cluster, document('more', url));
      await untilReport('edge-1', (each) => objectOf(each, 'more')?.programmed === 1);
      await sleep(2_000);
      const written = (await first.metric('layby_kubernetes_report_writes_total')) - writes;
      t.ok(written <= 3, `${written} writes for one edit`);
    },
  );

  await t.test('a control plane that is called as no node can be says so at its start', async (t) => {
    await t.rejects(clusterPlane(t, join(dir, 'odd'), { kubeconfig, node: 'Edge_1' }), {
      code: 'LAYBY_KUBERNETES_CONFIG_INVALID',
      message: /"Edge_1" is no name of a node/,
    });
  });

  const access = { server: cluster.url, ca: cluster.ca };
  const writerFor = (node: string, token: string, more: Partial<ReportWriterOptions> = {}) => {
    const api = new Api(async () => ({ ...access, token: async () => token }));
    const writer = new ReportWriter({
      ...{ api, node, lookEvery: 1_000 },
      namespace: async () => 'default',
      verdicts: () => [],
      standings: () => () => ({ sidecars: 0, programmed: 0 }),
      backlog: () => undefined,
      queueAnswers: () => true,
      held: () => [],
      onProblem: ({ message }) => t.fail(message),
      ...more,
    });
    writer.soon();
    t.teardown(async () => {
      writer.close();
      await api.close();
    });
    return writer;
  };

  await t.test('numbers alone are written now and then', async (t) => {
    let entries = 1;
    const writer = writerFor('truck-2', cluster.token, {
      numbersEvery: 2_000,
      backlog: () => ({ destinations: new Map(), orphans: [{ destination: 'gone', entries }] }),
    });
    const began = performance.now();
    await untilReport('truck-2', ({ orphans }) => orphans?.[0]?.entries === 1);
    while (performance.now() - began < 5_000) {
      entries += 1;
      writer.soon();
      await sleep(50);
    }
    t.ok(writer.writes >= 2 && writer.writes <= 3, `${writer.writes} writes in 5 s`);
    await untilReport('truck-2', ({ orphans }) => orphans?.[0]?.entries === entries);
    writer.close();
  });

  await t.test('a cluster that refuses it is asked less and less, and that is told once', async (t) => {
    const problems: string[] = [];
    const writer = writerFor('truck-2', 'no-token', { onProblem: ({ message }) => problems.push(message) });
    await until(async () => problems.length > 0 || undefined, 'a problem');
    for (let n = 0; n < 60; n += 1) {
      writer.soon();
      await sleep(50);
    }
    t.equal(writer.writes, 0);
    t.match(problems, [/answers 401/]);
    t.equal(problems.length, 1);
    writer.close();
  });

  await t.test(
    'a report that was deleted is written again, owned by the node that has the name now',
    async (t) => {
      writerFor('truck-1', cluster.token);
      const { uid } = (await untilReport('truck-1', () => true)).metadata;
      await cluster.kubectl(['delete', 'node', 'truck-1']);
      await cluster.api('POST', '/api/v1/nodes', { metadata: { name: 'truck-1' } });
      const node = (await cluster.api('GET', '/api/v1/nodes/truck-1')) as Stored;
      const again = await untilReport(
        'truck-1',
        ({ metadata }) => metadata.uid !== uid && metadata.ownerReferences?.[0]?.uid === node.metadata.uid,
      );
      t.equal(again.metadata.ownerReferences?.length, 1);
    },
  );

  await t.test('with its node the report of a control plane that is gone goes', async (t) => {
    await second.close();
    await cluster.kubectl(['delete', 'node', 'edge-2']);
    await until(async () => {
      const list = (await cluster.api('GET', reportPath('').slice(0, -1))) as { items: Stored[] };
      return list.items.every(({ metadata }) => metadata.name !== 'edge-2') || undefined;
    }, 'the report of edge-2 is gone');
    t.ok(await reportOf('edge-1'), 'and no other');
  });

  await t.test('who has the token of one node cannot speak for another', { skip: noHelm }, async (t) => {
    const env = { KUBECONFIG: cluster.kubeconfig };
    await helm(['install', 'layby', CHART, '-n', SYSTEM, '--create-namespace'], env);
    const pod = (await cluster.api('POST', `/api/v1/namespaces/${SYSTEM}/pods`, {
      metadata: { name: 'edge-of-truck-2' },
      spec: {
        ...{ nodeName: 'truck-2', serviceAccountName: 'layby-edge' },
        containers: [{ name: 'one', image: 'none' }],
      },
    })) as Stored;
    const { name, uid } = pod.metadata;
    const bound = await cluster.tokenOf(SYSTEM, 'layby-edge', { pod: { name, uid } });
    const unbound = await cluster.tokenOf(SYSTEM, 'layby-edge');

    const apiWith = (token: string) => {
      const api = new Api(async () => ({ ...access, token: async () => token }));
      t.teardown(() => api.close());
      return api;
    };
    const [truck, nobody] = [apiWith(bound), apiWith(unbound)];
    const write = (api: Api, node: string, ownerReferences: object[] = [], dryRun = false) =>
      api.patch(`${reportPath(node, SYSTEM)}${dryRun ? '?dryRun=All' : ''}`, {
        metadata: { ownerReferences },
      });
    const create = (api: Api, node: string, ownerReferences: object[] = []) =>
      api.post(`/apis/layby.dev/v1alpha1/namespaces/${SYSTEM}/reports?dryRun=All`, {
        ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Report', metadata: { name: node, ownerReferences } },
        ...{ version: '0', observedTime: new Date().toISOString(), queue: true, objects: [] },
      });
    // The policy is in force a moment after it is there.
    await until(
      () =>
        create(truck, 'edge-1').then(
          () => undefined,
          () => true,
        ),
      'the policy is in force',
    );

    const ofTruck = join(dir, 'truck.kubeconfig');
    await writeKubeconfig(ofTruck, cluster, bound);
    const control = await clusterPlane(t, join(dir, 'truck'), {
      kubeconfig: ofTruck,
      kubernetes: { kubeconfig: ofTruck, node: 'truck-2', reportNamespace: SYSTEM },
    });
    const own = await until(
      async () => (await cluster.api('GET', reportPath('truck-2', SYSTEM))) as Stored,
      'with the rights of the chart its control plane writes its own',
    );
    t.match(own.metadata.ownerReferences, [{ kind: 'Node', name: 'truck-2' }]);
    await control.close();

    const refused = (message: RegExp) => ({ status: 403, message });
    await t.rejects(create(truck, 'edge-1'), refused(/node truck-2 may write its own report only/));
    await cluster.api('POST', `/apis/layby.dev/v1alpha1/namespaces/${SYSTEM}/reports`, {
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Report', metadata: { name: 'edge-1' } },
      ...{ version: '0', observedTime: new Date().toISOString(), queue: true, objects: [] },
    });
    await t.rejects(write(truck, 'edge-1'), refused(/node truck-2 may write its own report only/));
    const owner = { apiVersion: 'v1', kind: 'Node', name: 'edge-1', uid: 'x' };
    await t.rejects(write(truck, 'truck-2', [owner]), refused(/owned by its Node or nobody/));
    await t.rejects(
      write(truck, 'truck-2', [{ ...owner, kind: 'ConfigMap', name: 'truck-2' }]),
      refused(/owned by its Node or nobody/),
    );
    await t.rejects(create(nobody, 'truck-2'), refused(/the token is bound to no node/));
    await t.rejects(write(nobody, 'truck-2'), refused(/the token is bound to no node/));
    const status = '/apis/layby.dev/v1alpha1/namespaces/default/destinations/api/status';
    await t.rejects(truck.patch(status, { status: {} }), refused(/403/), 'nor the status of the policy');
    await t.rejects(
      truck.get(reportPath('', SYSTEM).slice(0, -1)),
      refused(/403/),
      "nor read others' by a list",
    );
  });
});
