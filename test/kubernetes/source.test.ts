// The policy in a real cluster: in force on a real Envoy, one wrong object beside right ones, and what its status says.

import t from 'tap';
import { httpServer, sidecar } from '../control-plane/sidecar.ts';
import { MODES } from '../control-plane/xds-client.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregate } from './aggregator.ts';
import { apply, clusterPlane, conditionOf, document, policyCluster, seen, until } from './mesh.ts';

t.setTimeout(180_000);

t.test('policy from a cluster', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  aggregate(t, cluster);
  const port = await httpServer(t, (_, response) => response.end('upstream'));
  const url = `http://localhost:${port}`;
  const control = await clusterPlane(t, dir, { kubeconfig });
  const envoy = await sidecar(t, MODES[2]!, dir, control.xds);

  await t.test('what is applied is in force, and its status says so', async (t) => {
    const began = performance.now();
    await apply(cluster, document('api', url));
    const applied = performance.now();
    // Until there is a policy Envoy does not even listen.
    while ((await envoy.call('api.example').catch(() => ({ status: 0 }))).status !== 200);
    const inForce = performance.now();
    t.comment(
      `apply took ${Math.round(applied - began)} ms, in force ${Math.round(inForce - applied)} ms after`,
    );
    await cluster.kubectl(['wait', '--for=condition=Programmed', 'destination/api', '--timeout=20s']);
    const object = await until(cluster, 'api', 'Programmed', 'True', ({ message }) =>
      /^1 of 1/.test(message),
    );
    t.match(conditionOf(object, 'Accepted'), { status: 'True', message: 'by 1 control plane' });
    t.match(conditionOf(object, 'Programmed'), { status: 'True', message: '1 of 1 sidecar on 1 node' });
    t.equal(conditionOf(object, 'ResolvedRefs')?.status, 'True');
    t.equal(conditionOf(object, 'Nacked')?.status, 'False');
    // There is no queue here.
    t.equal(conditionOf(object, 'Ready')?.reason, 'QueueAway');
    t.match(await cluster.kubectl(['get', 'destinations']), /api .* failover +redirect +False +True +True/);
  });

  await t.test(
    'a wrong object is told so in the words of policy check, and does not stop others',
    async (t) => {
      await apply(cluster, document('bad', url, { answerTimeout: '1s' }));
      const bad = await until(cluster, 'bad', 'Accepted', 'False');
      t.match(
        conditionOf(bad, 'Accepted')?.message,
        /^(edge-1: )?spec\.answerTimeout: expected at least 2s, but found 1s$/,
        'said by the cluster part, or by the node where that was quicker',
      );
      t.equal(conditionOf(bad, 'Programmed')?.reason, 'Invalid');
      await apply(cluster, document('other', url));
      await until(cluster, 'other', 'Programmed', 'True');
      t.equal((await envoy.call('other.example')).status, 200);
      t.equal((await envoy.call('bad.example')).status, 421);
      t.match(await control.policy(), { problem: { code: 'LAYBY_POLICY_INVALID' } });
    },
  );

  await t.test('of an object that becomes wrong, what it said before stays in force', async (t) => {
    await apply(cluster, document('other', url, { hosts: ['changed.example'], answerTimeout: '1s' }));
    await until(cluster, 'other', 'Accepted', 'False');
    t.equal((await envoy.call('other.example')).status, 200);
    t.equal((await envoy.call('changed.example')).status, 421);
    await apply(cluster, document('other', url, { hosts: ['changed.example'] }));
    await until(cluster, 'other', 'Programmed', 'True');
    t.equal((await envoy.call('changed.example')).status, 200);
    t.equal((await envoy.call('other.example')).status, 421);
  });

  await t.test('a host belongs to whom it belonged before, and to the older where it is new', async (t) => {
    await apply(cluster, document('thief', url, { hosts: ['api.example', 'thief.example'] }));
    const thief = await until(cluster, 'thief', 'Accepted', 'False');
    t.match(
      conditionOf(thief, 'Accepted')?.message,
      /^(edge-1: )?spec\.hosts\[0\]: the host api\.example is already claimed by destination default\/api$/,
    );
    await cluster.kubectl(['delete', 'destination', 'api']);
    await until(cluster, 'thief', 'Programmed', 'True');
    t.equal((await envoy.call('thief.example')).status, 200);
    await cluster.kubectl(['delete', 'destination', 'thief', 'bad']);
  });

  await t.test(
    "Envoy's refusal is in the status of the object that it is about, and of no other",
    async (t) => {
      await apply(
        cluster,
        document('odd', url, { envoy: { cluster: { lb_policy: 'CLUSTER_PROVIDED' } } }),
        document('api', url),
      );
      const odd = await until(cluster, 'odd', 'Nacked', 'True');
      t.match(conditionOf(odd, 'Nacked')?.message, /^edge-1: sidecar truck-7: .*odd/s);
      t.equal(conditionOf(odd, 'Accepted')?.status, 'True');
      t.match(conditionOf(odd, 'Programmed'), { status: 'False', reason: 'Nacked' });
      const other = await until(cluster, 'other', 'Programmed', 'True');
      t.equal(conditionOf(other, 'Nacked')?.status, 'False');
      await apply(cluster, document('odd', url, { envoy: { cluster: { connect_timeout: '1s' } } }));
      await until(cluster, 'odd', 'Programmed', 'True');
      t.equal(conditionOf(await seen(cluster, 'odd'), 'Nacked')?.status, 'False');
    },
  );

  await t.test("a patch that is not in Envoy's words is refused by itself", async (t) => {
    await apply(cluster, document('odd', url, { envoy: { cluster: { conect_timeout: '1s' } } }));
    const odd = await until(cluster, 'odd', 'Accepted', 'False');
    t.match(conditionOf(odd, 'Accepted')?.message, /spec.envoy: .*conect_timeout/);
    t.equal((await envoy.call('odd.example')).status, 200);
    await cluster.kubectl(['delete', 'destination', 'odd']);
  });

  await t.test('what is written into a status leads to no other write', async (t) => {
    const writes = () => control.metric('layby_kubernetes_report_writes_total');
    const before = await seen(cluster, 'other');
    const count = await writes();
    for (const round of ['one', 'two', 'three']) {
      await apply(cluster, document(round, url));
      await until(cluster, round, 'Programmed', 'True');
    }
    t.equal((await seen(cluster, 'other')).metadata.resourceVersion, before.metadata.resourceVersion);
    const written = (await writes()) - count;
    t.ok(written <= 6, `${written} writes for three new objects`);
  });
});
