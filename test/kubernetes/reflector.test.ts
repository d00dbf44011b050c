// How the objects of a cluster are followed: nothing is missed when a watch ends, when the way is cut, or when the server has forgotten.

import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { kubeconfigAccess } from '../../src/policy/sources/kubernetes/access.ts';
import { Api } from '../../src/policy/sources/kubernetes/api.ts';
import { pathOf } from '../../src/policy/sources/kubernetes/names.ts';
import { policyObject } from '../../src/policy/sources/kubernetes/objects.ts';
import { Reflector } from '../../src/policy/sources/kubernetes/reflector.ts';
import type { LaybyError } from '../../src/telemetry/error.ts';
import { noKubernetes, writeKubeconfig } from '../rig/kubernetes/cluster.ts';
import { type Way, wayTo } from '../rig/kubernetes/way.ts';
import { testdir } from '../rig/testdir.ts';
import { untilEvent } from '../rig/until-event.ts';
import { apply, document, policyCluster } from './mesh.ts';

t.setTimeout(120_000);

t.test('objects are followed', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster } = await policyCluster(t, dir);
  const token = await cluster.tokenOf('default', 'layby');
  const url = 'http://127.0.0.1:9';

  /** Behind a way of its own. */
  const follow = async (t: Test, watchSeconds?: number, pause = 500) => {
    const way: Way = await wayTo(cluster.url);
    const kubeconfig = join(dir, `kubeconfig-${new URL(way.url).port}`);
    await writeKubeconfig(kubeconfig, { url: way.url, ca: cluster.ca }, token);
    const api = new Api(() => kubeconfigAccess(kubeconfig), { starting: 2_000 });
    const events = new EventEmitter();
    const problems: LaybyError[] = [];
    const reflector = new Reflector(api, {
      path: pathOf('Destination', undefined),
      lean: (raw) => policyObject('Destination', raw),
      shortestPause: pause,
      longestPause: pause,
      ...(watchSeconds !== undefined && { watchSeconds }),
      onChange: () => events.emit('change'),
      onProblem: (problem) => {
        if (problem) problems.push(problem);
        events.emit('problem', problem);
      },
    });
    void reflector.run();
    t.teardown(async () => {
      reflector.close();
      await api.close();
      way.close();
    });
    const names = () => [...reflector.objects].map(({ metadata }) => metadata.name).sort();
    const untilNames = async (...wanted: string[]) => {
      const isSo = () => names().join() === wanted.join();
      if (!isSo()) await untilEvent(events, 'change', isSo, 20_000, () => `${names()} and not ${wanted}`);
    };
    const untilProblem = (is: (problem: LaybyError | undefined) => boolean) =>
      untilEvent<LaybyError | undefined>(events, 'problem', is, 20_000, () => problems.join());
    return { way, reflector, problems, untilNames, untilProblem };
  };

  await t.test('what a watch that has ended missed comes with the next one, without a list', async (t) => {
    await apply(cluster, document('a', url));
    const { way, reflector, problems, untilNames } = await follow(t, 1);
    await untilNames('a');
    // Each watch is a request of its own; they share the connection.
    const listed = reflector.watches;
    for (const name of ['b', 'c', 'd']) await apply(cluster, document(name, url));
    await untilNames('a', 'b', 'c', 'd');
    while (reflector.watches < listed + 3) await new Promise(setImmediate);
    await cluster.kubectl(['delete', 'destination', 'b']);
    await untilNames('a', 'c', 'd');
    t.equal(reflector.lists, 1);
    t.same(problems, []);
    t.ok(way.connections() <= 2, `${way.connections()} connections`);
  });

  await t.test('told that the way may be there again, it asks soon, however long its pause', async (t) => {
    const { way, reflector, untilNames, untilProblem } = await follow(t, undefined, 600_000);
    await untilNames('a', 'c', 'd');
    const away = untilProblem((problem) => problem?.code === 'LAYBY_KUBERNETES_AWAY');
    way.cut();
    await away;
    await apply(cluster, document('woken', url));
    way.mend();
    reflector.wake();
    await untilNames('a', 'c', 'd', 'woken');
    await cluster.kubectl(['delete', 'destination', 'woken']);
    await untilNames('a', 'c', 'd');
    t.pass();
  });

  await t.test('after a cut it goes on from where it was', async (t) => {
    const { way, reflector, untilNames, untilProblem } = await follow(t);
    await untilNames('a', 'c', 'd');
    const away = untilProblem((problem) => problem?.code === 'LAYBY_KUBERNETES_AWAY');
    way.cut();
    await away;
    await cluster.kubectl(['delete', 'destination', 'c']);
    await apply(cluster, document('e', url));
    way.mend();
    await untilNames('a', 'd', 'e');
    t.equal(reflector.lists, 1);
  });

  await t.test('what the server has forgotten is listed anew', async (t) => {
    const { way, reflector, untilNames, untilProblem } = await follow(t);
    await untilNames('a', 'd', 'e');
    const away = untilProblem((problem) => problem !== undefined);
    way.cut();
    await away;
    await cluster.kubectl(['delete', 'destination', 'd']);
    await apply(cluster, document('f', url));
    await cluster.compact();
    // Its own memory of what happened ends too.
    await cluster.apiServer.kill9();
    await cluster.apiServer.start();
    way.mend();
    await untilNames('a', 'e', 'f');
    t.equal(reflector.lists, 2);
  });

  await t.test('a kill -9 of the API server is a cut, and nothing is taken back meanwhile', async (t) => {
    const { reflector, untilNames, untilProblem } = await follow(t);
    await untilNames('a', 'e', 'f');
    const away = untilProblem((problem) => problem?.code === 'LAYBY_KUBERNETES_AWAY');
    await cluster.apiServer.kill9();
    await away;
    await untilNames('a', 'e', 'f');
    const back = untilProblem((problem) => problem === undefined);
    await cluster.apiServer.start();
    await back;
    await apply(cluster, document('g', url));
    await untilNames('a', 'e', 'f', 'g');
    t.comment(`${reflector.lists} lists`);
  });

  await t.test('whom it may not ask is said, with what to do, once no start explains it', async (t) => {
    await cluster.kubectl(['delete', 'clusterrolebinding', 'layby']);
    const { untilProblem } = await follow(t);
    const first = await untilProblem((each) => each !== undefined);
    t.match(first, { code: 'LAYBY_KUBERNETES_NOT_READY', status: 403 });
    const problem = await untilProblem((each) => each?.code !== first?.code);
    t.match(problem, { code: 'LAYBY_KUBERNETES_REFUSED', status: 403, remedy: /docs\/kubernetes.md/ });
    t.match(problem?.message, /layby.*cannot list resource "destinations"/);
  });
});
