// The API server is away: at the start of a control plane, and while it runs. And several control planes in one cluster.

import { join } from 'node:path';
import t from 'tap';
import { httpServer, sidecar } from '../control-plane/sidecar.ts';
import { MODES } from '../control-plane/xds-client.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregate } from './aggregator.ts';
import { apply, clusterPlane, conditionOf, document, policyCluster, seen, until } from './mesh.ts';

t.setTimeout(180_000);

t.test('without the API server the last policy holds', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  aggregate(t, cluster);
  const port = await httpServer(t, (_, response) => response.end('upstream'));
  const url = `http://localhost:${port}`;

  await t.test('at a start without a policy ever, it is not ready and says why', async (t) => {
    await cluster.apiServer.kill9();
    const control = await clusterPlane(t, join(dir, 'never'), { kubeconfig });
    t.match(await control.policy(), { version: null });
    for (;;) {
      const { problem } = await control.policy();
      if (!problem) continue;
      t.equal(problem.code, 'LAYBY_KUBERNETES_AWAY');
      break;
    }
    const { host, port } = control.control.admin as { host: string; port: number };
    const answer = await fetch(`http://${host}:${port}/readyz`);
    t.same([answer.status, await answer.text()], [503, 'no policy yet\n']);
    await cluster.apiServer.start();
    while (!(await control.policy()).version);
    await control.close();
  });

  await t.test('at a start with one on the disk, it is in force', async (t) => {
    await apply(cluster, document('api', url));
    const first = await clusterPlane(t, dir, { kubeconfig });
    await until(cluster, 'api', 'Programmed', 'True');
    const { version } = await first.policy();
    await first.close();
    await cluster.apiServer.kill9();

    const control = await clusterPlane(t, dir, { kubeconfig });
    t.equal((await control.policy()).version, version);
    const envoy = await sidecar(t, MODES[0]!, dir, control.xds);
    while ((await envoy.call('api.example').catch(() => ({ status: 0 }))).status !== 200);
    while ((await control.metric('layby_kubernetes_away')) !== 1);

    // And when it is back, things go on.
    await cluster.apiServer.start();
    await apply(cluster, document('late', url));
    await until(cluster, 'late', 'Programmed', 'True');
    t.equal((await envoy.call('late.example')).status, 200);
    t.equal(await control.metric('layby_kubernetes_away'), 0);
    await control.close();
  });
});

t.test('two control planes say their words in one status', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  aggregate(t, cluster);
  const url = 'http://127.0.0.1:9';
  const one = await clusterPlane(t, join(dir, 'one'), { kubeconfig, node: 'edge-1' });
  const two = await clusterPlane(t, join(dir, 'two'), { kubeconfig, node: 'edge-2' });

  await t.test('both are there, whoever was first, and then nobody writes any more', async (t) => {
    const names = Array.from({ length: 20 }, (_, i) => `both-${i}`);
    await apply(cluster, ...names.map((name) => document(name, url)));
    const versions = new Map<string, string>();
    for (const name of names) {
      const object = await until(cluster, name, 'Accepted', 'True', ({ message }) => /^by 2/.test(message));
      versions.set(name, object.metadata.resourceVersion);
    }
    await apply(cluster, document('last', url));
    await until(cluster, 'last', 'Accepted', 'True', ({ message }) => /^by 2/.test(message));
    for (const name of names)
      t.equal((await seen(cluster, name)).metadata.resourceVersion, versions.get(name));
    const writes = 'layby_kubernetes_report_writes_total';
    t.comment(`${(await one.metric(writes)) + (await two.metric(writes))} writes for 21 objects`);
  });

  await t.test('one that is cut off is seen not to have the newest', async (t) => {
    await two.close();
    await apply(cluster, document('last', url, { answerTimeout: '9s' }));
    const object = await until(cluster, 'last', 'Programmed', 'False', ({ message }) =>
      /not seen yet by edge-2$/.test(message),
    );
    t.equal(conditionOf(object, 'Accepted')?.status, 'True');
  });
});
