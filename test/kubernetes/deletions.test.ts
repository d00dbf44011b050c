// Everything of a kind is deleted at once in a real cluster, or its CRD is: a real Envoy goes on with what was in force, over a restart of
// the control plane, until the objects are there again or an operator accepts it.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { formatAddress } from '../../src/wire/address.ts';
import { layby } from '../cli/layby-process.ts';
import { httpServer, sidecar } from '../control-plane/sidecar.ts';
import { MODES } from '../control-plane/xds-client.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { installCrds } from '../rig/kubernetes/crds.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregatorAccount, NAMESPACE, startAggregator } from './aggregator.ts';
import { apply, type ClusterPlane, clusterPlane, document, policyCluster, until } from './mesh.ts';

t.setTimeout(240_000);

const CRDS = fileURLToPath(new URL('../../manifests/crds/', import.meta.url));
/** Longer than an accepted deletion takes, ms. */
const MUCH_LONGER_MS = 5_000;
const HELD = 'LAYBY_POLICY_DELETIONS_HELD';

const untilCode = async (control: ClusterPlane, code: string | undefined) => {
  for (const deadline = Date.now() + 60_000; ; await sleep(50)) {
    const { problem } = await control.policy();
    if (problem?.code === code) return problem as { code: string; message: string; remedy: string };
    if (Date.now() > deadline) throw new Error(`${JSON.stringify(problem)} and not ${code}`);
  }
};

const program = (control: ClusterPlane, ...args: string[]) =>
  layby([...args, '--admin', formatAddress(control.control.admin)]);

t.test('what is deleted at once stays in force', { skip: noKubernetes }, async (all: Test) => {
  const t = all;
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  const account = await aggregatorAccount(cluster, dir);
  const one = startAggregator(t, account, 'the-one');
  const port = await httpServer(t, (_, response) => response.end('upstream'));
  const url = `http://localhost:${port}`;
  const start = (at?: ClusterPlane['xds']) =>
    clusterPlane(all, dir, {
      kubeconfig,
      kubernetes: { kubeconfig, node: 'edge-1', reportNamespace: NAMESPACE },
      ...(at && { at }),
    });
  let control = await start();
  const envoy = await sidecar(t, MODES[2]!, dir, control.xds);
  const names = ['a', 'b', 'c', 'd'];
  const documents = names.map((name) => document(name, url));
  const statusOf = async (name: string) =>
    (await envoy.call(`${name}.example`).catch(() => ({ status: 0 }))).status;
  const allAnswer = async (wanted: readonly string[] = names) => {
    for (const name of wanted) if ((await statusOf(name)) !== 200) return false;
    return true;
  };
  const untilStatus = async (name: string, status: number) => {
    for (const deadline = Date.now() + 30_000; (await statusOf(name)) !== status; )
      if (Date.now() > deadline) throw new Error(`${name} answers ${await statusOf(name)}, not ${status}`);
  };
  /** Every call in this time is answered. */
  const answersFor = async (ms: number) => {
    for (const end = Date.now() + ms; Date.now() < end; ) if (!(await allAnswer())) return false;
    return true;
  };
  /** What `kubectl get` shows, once it is this. */
  const untilShown = async (shown: RegExp, ...args: string[]) => {
    for (const deadline = Date.now() + 30_000; ; await sleep(100)) {
      const text = await cluster.kubectl(['get', ...args]).catch(String);
      if (shown.test(text)) return text;
      if (Date.now() > deadline) throw new Error(`kubectl get ${args.join(' ')} shows ${text}`);
    }
  };
  const mesh = (annotations: object = {}) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Mesh',
      metadata: { name: 'mesh', annotations },
      spec: { passthrough: 'deny' },
    });
  await apply(cluster, ...documents);
  for (const name of names) await untilStatus(name, 200);

  await t.test('kubectl delete destinations --all: all go on, and it is said everywhere', async (t) => {
    const held = untilCode(control, HELD);
    const deleted = cluster.kubectl(['delete', 'destinations', '--all']);
    t.ok(await answersFor(MUCH_LONGER_MS));
    await deleted;
    t.match(await held, {
      message: 'the cluster has lost 4 destinations (a, b, c, d) at once; what is lost stays in force',
      remedy: /apply the objects again.*layby policy accept-deletions.*layby\.dev\/accept-deletions=true/,
    });
    t.equal(await control.metric('layby_kubernetes_deletions_held'), 4);
    t.match(
      (await program(control, 'status')).stdout,
      /^policy: the cluster has lost 4 destinations .*: apply the objects again/m,
    );
  });

  await t.test('and in the cluster, where no object of the policy is left', async (t) => {
    t.match(await untilShown(/edge-1/, 'reports', '-n', NAMESPACE), /^edge-1 +\S+ +false +4 /m);
    t.match(
      await untilShown(/DeletionsHeld/, 'events'),
      /Warning +DeletionsHeld +namespace\/layby-system +lost at once, and still in force on edge-1: 4 destinations \(a, b, c, d\); apply them again, or accept .* layby\.dev\/accept-deletions=true/,
    );
  });

  await t.test('also over a restart of the control plane', async (t) => {
    await control.close();
    control = await start(control.xds);
    await untilCode(control, HELD);
    t.ok(await answersFor(MUCH_LONGER_MS));
    t.equal(await control.metric('layby_kubernetes_deletions_held'), 4);
  });

  await t.test('and is over when the objects are there again', async (t) => {
    await apply(cluster, documents[0]!);
    await until(cluster, 'a', 'Accepted', 'True');
    t.ok(await answersFor(MUCH_LONGER_MS));
    t.equal(await control.metric('layby_kubernetes_deletions_held'), 3, 'the others wait');
    await apply(cluster, ...documents);
    await untilCode(control, undefined);
    t.ok(await allAnswer());
    t.equal(await control.metric('layby_kubernetes_deletions_held'), 0);
    await untilShown(/^edge-1 +\S+ +false +\d+s /m, 'reports', '-n', NAMESPACE);
  });

  await t.test('kubectl delete crd, and the CRD with its objects again: nothing has stopped', async (t) => {
    const held = untilCode(control, HELD);
    const deleted = cluster.kubectl(['delete', 'crd', 'destinations.layby.dev']);
    t.ok(await answersFor(MUCH_LONGER_MS));
    await deleted;
    await held;
    t.ok(await answersFor(MUCH_LONGER_MS), 'the collection answers 404 meanwhile');
    await installCrds(cluster);
    t.ok(await answersFor(MUCH_LONGER_MS), 'it lists nothing');
    await untilCode(control, HELD);
    await apply(cluster, ...documents);
    await untilCode(control, undefined);
    await apply(cluster, document('e', url));
    await untilStatus('e', 200);
    t.ok(await allAnswer());
  });

  await t.test('a start while the CRD is gone takes its 404 for no empty list', async (t) => {
    await cluster.kubectl(['delete', 'crd', 'destinations.layby.dev']);
    await untilCode(control, HELD);
    await untilShown(/DeletionsHeld.* 5 destinations/, 'events');
    await control.close();
    control = await start(control.xds);
    await untilCode(control, HELD);
    t.ok(await answersFor(MUCH_LONGER_MS));
    t.match(await program(control, 'policy', 'accept-deletions'), {
      code: 1,
      said: [/not all objects have been listed since the start/],
    });
    t.ok(await allAnswer());
    const events = async () => (await cluster.kubectl(['get', 'events'])).split('DeletionsHeld').length;
    const before = await events();
    await one.close(true);
    startAggregator(all, account, 'another');
    for (const deadline = Date.now() + 30_000; (await events()) === before; await sleep(100))
      if (Date.now() > deadline) throw new Error('a cluster part that starts meanwhile says nothing');
    await installCrds(cluster);
    await apply(cluster, ...documents, document('e', url));
    await untilCode(control, undefined);
    t.ok(await allAnswer());
  });

  await t.test('one of several is deleted as before', async (t) => {
    await cluster.kubectl(['delete', 'destination', 'e']);
    await untilStatus('e', 421);
    t.equal((await control.policy()).problem, null);
    t.match(await program(control, 'policy', 'accept-deletions'), {
      code: 1,
      said: [/no deletion of policy objects is held here/],
    });
  });

  await t.test('an operator accepts it here', async (t) => {
    await cluster.kubectl(['delete', 'destination', 'b', 'c', 'd']);
    await untilCode(control, HELD);
    t.ok(await answersFor(MUCH_LONGER_MS));
    t.match(await program(control, 'policy', 'accept-deletions'), {
      code: 0,
      stdout:
        'no longer in force: Destination b\nno longer in force: Destination c\nno longer in force: Destination d\n',
    });
    for (const name of ['b', 'c', 'd']) await untilStatus(name, 421);
    t.equal(await statusOf('a'), 200);
    t.equal((await control.policy()).problem, null);
  });

  await t.test('or everywhere, by an annotation: also the last one goes', async (t) => {
    await cluster.kubectl(['delete', 'destination', 'a']);
    await untilCode(control, HELD);
    await sleep(MUCH_LONGER_MS);
    t.equal(await statusOf('a'), 200);
    await apply(cluster, mesh());
    await cluster.kubectl(['wait', '--for=condition=DeletionsHeld', 'lmesh/mesh', '--timeout=30s']);
    await cluster.kubectl(['wait', '--for=condition=Ready', 'lmesh/mesh', '--timeout=30s']);
    t.match(
      await cluster.kubectl([
        ...['get', 'lmesh', 'mesh', '-o'],
        'jsonpath={.status.conditions[?(@.type=="DeletionsHeld")].message}',
      ]),
      /^lost at once, and still in force on edge-1: 1 destination \(a\); apply them again, or accept/,
    );
    await apply(cluster, mesh({ 'layby.dev/accept-deletions': 'true' }));
    await untilStatus('a', 421);
    await untilCode(control, undefined);
    const column = 'HELD:.status.conditions[?(@.type=="DeletionsHeld")].status';
    await untilShown(/^mesh +<none>$/m, 'lmesh', '-o', `custom-columns=NAME:.metadata.name,${column}`);
    // As long as it stands there, deletions are what they say.
    await apply(cluster, ...documents);
    for (const name of names) await untilStatus(name, 200);
    await cluster.kubectl(['delete', 'destinations', '--all']);
    for (const name of names) await untilStatus(name, 421);
    t.equal((await control.policy()).problem, null);
  });

  await t.test('and the last start sees the same', async (t) => {
    await control.close();
    control = await start(control.xds);
    while (!(await control.policy()).version);
    await sleep(1_000);
    t.equal((await control.policy()).problem, null);
    t.equal(await statusOf('a'), 421);
    await control.close();
  });
});

t.test('the definitions of the policy are kept by what installs them', async (t) => {
  const { readdirSync, readFileSync } = await import('node:fs');
  const { parse } = await import('yaml');
  for (const name of readdirSync(CRDS))
    t.match(parse(readFileSync(join(CRDS, name), 'utf8')).metadata.annotations, {
      'helm.sh/resource-policy': 'keep',
      'argocd.argoproj.io/sync-options': 'Prune=false,Delete=false',
      'kustomize.toolkit.fluxcd.io/prune': 'disabled',
    });
});
