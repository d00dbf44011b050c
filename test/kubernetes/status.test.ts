// The status of policy objects on a real API server, made of the reports of many nodes by one of several processes.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { serveAdmission } from '../../src/admission/server.ts';
import { clusterReviewer, LEAVE_ENTRIES } from '../../src/policy/sources/kubernetes/cluster-review.ts';
import type { ObjectReport } from '../../src/policy/sources/kubernetes/report.ts';
import { logger } from '../../src/telemetry/log.ts';
import { writeCertificate } from '../rig/certificate.ts';
import { type Cluster, noKubernetes } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregatorAccount, LEASE_S, NAMESPACE, startAggregator } from './aggregator.ts';
import { apply, conditionOf, document, policyCluster, type Seen, seen, until } from './mesh.ts';

t.setTimeout(180_000);

const URL_OF_ALL = 'http://127.0.0.1:9';

const eventually = async <Value>(
  what: string,
  ask: () => Promise<Value | undefined | false>,
): Promise<Value> => {
  for (const deadline = Date.now() + 40_000; ; await sleep(50)) {
    const value = await ask();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within 40 s: ${what}`);
  }
};

interface Named extends Seen {
  metadata: Seen['metadata'] & { uid: string };
}

/** As the control plane of a node does. */
const report = async (
  cluster: Cluster,
  node: string,
  name: string,
  changes: Partial<ObjectReport> = {},
  queue = true,
): Promise<void> => {
  const { metadata } = (await seen(cluster, name)) as Named;
  await reportOf(cluster, node, metadata, name, changes, queue);
};

const reportOf = (
  cluster: Cluster,
  node: string,
  { uid, generation }: Named['metadata'],
  name: string,
  changes: Partial<ObjectReport> = {},
  queue = true,
): Promise<unknown> =>
  cluster.api(
    'PATCH',
    `/apis/layby.dev/v1alpha1/namespaces/${NAMESPACE}/reports/${node}?fieldManager=${node}&force=true`,
    {
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Report', metadata: { name: node, namespace: NAMESPACE } },
      ...{ version: '0.0.0', observedTime: '2026-01-01T00:00:00Z', queue },
      objects: [
        {
          ...{ kind: 'Destination', namespace: 'default', name, uid, observedGeneration: generation },
          ...{ accepted: true, sidecars: 1, programmed: 1, ...changes },
        },
      ],
    },
    'application/apply-patch+yaml',
  );

const forget = (cluster: Cluster) =>
  cluster.kubectl(['delete', 'reports.layby.dev', '--all', '-n', NAMESPACE]);

t.test('status from reports', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster } = await policyCluster(t, dir);
  const kubeconfig = await aggregatorAccount(cluster, dir);

  await apply(cluster, document('early', URL_OF_ALL));
  await t.test('before anybody has judged it, an object is not ready', async (t) => {
    const early = await seen(cluster, 'early');
    t.match(conditionOf(early, 'Ready'), { status: 'Unknown', reason: 'Pending' });
    await cluster.kubectl(['delete', 'destination', 'early']);
  });

  const start = (t: Test, identity: string) => startAggregator(t, kubeconfig, identity);
  const first = start(t, 'first');
  await eventually('a leader', async () => first.aggregator.leads);
  const second = start(t, 'second');

  await t.test('one leads; when it dies the other does, once the Lease is over', async (t) => {
    await eventually('all read', async () => second.aggregator.synced);
    await sleep(LEASE_S * 1_000);
    t.ok(first.aggregator.leads);
    t.notOk(second.aggregator.leads);
    await first.close(false);
    const died = performance.now();
    await eventually('the other leads', async () => second.aggregator.leads);
    const took = performance.now() - died;
    t.ok(took < LEASE_S * 2_000 + 1_000, `${Math.round(took)} ms`);
    const third = start(t, 'third');
    await eventually('all read', async () => third.aggregator.synced);
    await second.close(true);
    const released = performance.now();
    await eventually('the third leads', async () => third.aggregator.leads);
    t.ok(performance.now() - released < LEASE_S * 1_000);
    await third.close(true);
  });

  const { aggregator } = start(t, 'fourth');
  await eventually('a leader', async () => aggregator.leads && aggregator.synced);

  await t.test('an object is ready when the vehicles that are here have it', async (t) => {
    await apply(cluster, document('api', URL_OF_ALL, { hosts: ['a.x', 'b.x', 'c.x', 'd.x'] }));
    await until(cluster, 'api', 'Ready', 'Unknown', ({ reason }) => reason === 'Waiting');
    for (const node of ['edge-1', 'edge-2'])
      await cluster.kubectl(
        ['apply', '-f', '-'],
        JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: node } }),
      );
    const condition = (status: string) =>
      `{"status":{"conditions":[{"type":"Ready","status":"${status}","reason":"R","message":""}]}}`;
    const nodeReady = (node: string, status: string) =>
      cluster.kubectl([
        'patch',
        'node',
        node,
        '--subresource=status',
        '--type=merge',
        '-p',
        condition(status),
      ]);
    await nodeReady('edge-1', 'True');
    await nodeReady('edge-2', 'True');
    await report(cluster, 'edge-1', 'api');
    await report(cluster, 'edge-2', 'api', { programmed: 0 });
    await until(cluster, 'api', 'Ready', 'False', ({ message }) => message.includes('edge-2'));
    await nodeReady('edge-2', 'Unknown');
    await cluster.kubectl(['wait', '--for=condition=Ready', 'destination/api', '--timeout=20s']);
    const object = await seen(cluster, 'api');
    t.match(conditionOf(object, 'Ready')?.message, 'on 1 of 1 vehicle; 1 away: edge-2');
    t.match(conditionOf(object, 'Programmed'), { status: 'False', reason: 'Waiting' });
    t.match(object.status, {
      ...{ observedGeneration: 1, hosts: 'a.x, b.x and 2 more' },
      vehicles: { total: 2, programmed: 1, away: 1 },
    });
    t.match(await cluster.kubectl(['get', 'dest']), /api +a\.x, b\.x and 2 more/);
  });

  const events = async (name: string): Promise<string> =>
    cluster.kubectl(['get', 'events', '--field-selector', `involvedObject.name=${name}`]);

  await t.test("Envoy's words and what is wrong are in `-o wide`, and an event tells of each", async (t) => {
    const nack = 'sidecar truck-7: CLUSTER_PROVIDED is not supported';
    await report(cluster, 'edge-1', 'api', { nack, programmed: 0 });
    await until(cluster, 'api', 'Nacked', 'True');
    t.match(await cluster.kubectl(['get', 'dest', 'api', '-o', 'wide']), `edge-1: ${nack}`);
    await report(cluster, 'edge-1', 'api', { accepted: false, message: 'spec.envoy: no such field' });
    const object = await until(cluster, 'api', 'Stalled', 'True');
    t.match(conditionOf(object, 'Ready'), { status: 'False', reason: 'Invalid' });
    t.match(await cluster.kubectl(['get', 'dest', 'api', '-o', 'wide']), /edge-1: spec.envoy: no such field/);
    await report(cluster, 'edge-1', 'api', { entries: 3, dead: 3 });
    await until(cluster, 'api', 'Ready', 'True');
    await report(cluster, 'edge-1', 'api', { entries: 3, dead: 3 }, false);
    await until(cluster, 'api', 'Ready', 'False', ({ reason }) => reason === 'QueueAway');
    const text = await eventually('four events', async () => {
      const seenEvents = await events('api');
      return seenEvents.includes('QueueAway') && seenEvents;
    });
    for (const reason of ['Nacked', 'Refused', 'DeadLetters', 'QueueAway'])
      t.equal(text.split(reason).length, 2, `one of ${reason}: ${text}`);
    await report(cluster, 'edge-1', 'api');
    await until(cluster, 'api', 'Ready', 'True');
  });

  await t.test('reports of a hundred nodes are a few writes', async (t) => {
    await forget(cluster);
    const nodes = Array.from({ length: 100 }, (_, i) => `many-${i}`);
    const allReport = async () => {
      const { metadata } = (await seen(cluster, 'api')) as Named;
      await Promise.all(nodes.map((node) => reportOf(cluster, node, metadata, 'api')));
    };
    await allReport();
    await until(cluster, 'api', 'Programmed', 'True');
    await sleep(2_500);
    const before = aggregator.writes;
    const began = performance.now();
    await apply(cluster, document('api', URL_OF_ALL, { hosts: ['e.x'] }));
    await allReport();
    await until(cluster, 'api', 'Ready', 'True');
    await sleep(2_500);
    const most = 2 + (performance.now() - began) / 2_000;
    const writes = aggregator.writes - before;
    t.ok(writes >= 1 && writes <= most && writes < 10, `${writes} writes`);
    const text = JSON.stringify((await seen(cluster, 'api')).status);
    t.ok(text.length < 2_000, `${text.length} bytes`);
    await forget(cluster);
  });

  await t.test('a change that leaves entries behind is refused, unless they may be left', async (t) => {
    const ca = await writeCertificate(dir);
    const admission = await serveAdmission({
      ...{ listen: { host: '127.0.0.1', port: 0 }, log: logger('test') },
      ...{ certificate: join(dir, 'tls.crt'), key: join(dir, 'tls.key') },
      reviewers: { '/validate': clusterReviewer(aggregator) },
    });
    t.teardown(() => admission.close());
    const { port } = admission.address as { port: number };
    const hook = {
      ...{ name: 'policy.layby.dev', admissionReviewVersions: ['v1'], sideEffects: 'None' },
      ...{ failurePolicy: 'Ignore', timeoutSeconds: 5 },
      rules: [
        {
          ...{ apiGroups: ['layby.dev'], apiVersions: ['v1alpha1'] },
          ...{
            operations: ['CREATE', 'UPDATE', 'DELETE'],
            resources: ['destinations', 'services', 'meshes'],
          },
        },
      ],
      clientConfig: {
        url: `https://127.0.0.1:${port}/validate`,
        caBundle: Buffer.from(ca).toString('base64'),
      },
    };
    const configuration = {
      ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingWebhookConfiguration' },
      ...{ metadata: { name: 'layby' }, webhooks: [hook] },
    };
    await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(configuration));
    await eventually('the API server knows the webhook', () =>
      apply(cluster, document('wrong', URL_OF_ALL, { answerTimeout: '1s' })).then(
        () => cluster.kubectl(['delete', 'destination', 'wrong']).then(() => false),
        () => true,
      ),
    );
    await apply(cluster, document('cam', URL_OF_ALL, { hosts: ['*.cam.example'] }));
    for (const [node, entries] of [
      ['edge-1', 4],
      ['edge-2', 8],
    ] as const)
      await report(cluster, node, 'cam', { entries });
    await eventually('the reports are read', async () => aggregator.waiting().get('cam')?.length === 2);
    const words = /12 entries stored for cam on edge-2 \(8\), edge-1 \(4\) would be left behind/;
    await t.rejects(cluster.kubectl(['delete', 'destination', 'cam']), words);
    await t.rejects(
      cluster.kubectl(['delete', 'destination', 'cam']),
      /layby drain.*layby queue move.*leave-entries/,
    );
    const thief = (annotations = {}) =>
      JSON.stringify({
        ...JSON.parse(document('thief', URL_OF_ALL, { hosts: ['one.cam.example'] })),
        metadata: { name: 'thief', annotations },
      });
    await t.rejects(apply(cluster, thief()), /one.cam.example goes to thief/);
    await apply(cluster, thief({ [LEAVE_ENTRIES]: 'true' }));
    await apply(cluster, document('cam', URL_OF_ALL, { hosts: ['*.cam.example'], answerTimeout: '9s' }));
    await cluster.kubectl(['annotate', 'destination', 'cam', `${LEAVE_ENTRIES}=true`]);
    await eventually('the annotation is read', () =>
      cluster.kubectl(['delete', 'destination', 'cam']).then(
        () => true,
        () => false,
      ),
    );
    await cluster.kubectl(['delete', 'destination', 'thief']);
  });
});
