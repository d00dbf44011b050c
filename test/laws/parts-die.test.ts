// Law 6: each part may die, and what the others do goes on.

import { rename, rm } from 'node:fs/promises';
import t from 'tap';
import { makeScene, outcomesAtTheQueue, untilDrained, untilSidecar } from '../e2e/scene.ts';
import { curl } from '../rig/app.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';

t.setTimeout(290_000);

t.test(
  'with the control plane hung or dead, calls are sent, stored and replayed',
  { skip: noRoad },
  async (t) => {
    const { road, oracle, layby, call } = await makeScene(t);
    const cut = blackhole(road);
    t.teardown(() => cut.clear());
    const pid = layby.pidOf('control-plane');
    // Stopped, not killed: it would be started again, and a hung one is the worse case.
    process.kill(pid, 'SIGSTOP');
    t.teardown(() => {
      if (layby.pids().some((proc) => proc.pid === pid)) process.kill(pid, 'SIGCONT');
    });
    t.equal((await call('http://api.example/online', { method: 'PUT', body: 'a' })).status, 200);
    await cut.inject();
    for (const path of ['/first', '/second']) {
      const stored = await call(`http://api.example${path}`, { method: 'PUT', body: path });
      t.equal(stored.status, 307, path);
      t.ok(stored.ms < 7_000, `${path}: ${Math.round(stored.ms)} ms`);
    }
    await cut.clear();
    await oracle.until((arrivals) =>
      ['/first', '/second'].every((path) => arrivals.some((one) => one.path === path)),
    );
    process.kill(pid, 'SIGKILL');
    for (let dead = 0; dead < 3; dead++) {
      // It is up again after each; killed as soon as it is seen, so that it stays away for a while.
      await layby.kill9('control-plane').catch(() => {});
      // Sent, or stored where Envoy still leaves the host alone after its loss: never an error.
      const { status } = await call(`http://api.example/dead/${dead}`, { method: 'PUT', body: 'a' });
      t.ok(status === 200 || status === 307, `with no control plane: ${status}`);
    }
    await untilDrained(layby);
    await untilSidecar(layby);
    await cut.inject();
    t.equal(
      (await call('http://api.example/again', { method: 'PUT', body: 'a' })).status,
      307,
      'and holds as before',
    );
    await cut.clear();
    await untilDrained(layby);
  },
);

t.test('with the queue dead, online calls go on, and storing waits for it', { skip: noRoad }, async (t) => {
  const { road, oracle, layby, call, load } = await makeScene(t);
  const until = new AbortController();
  const online = load({ host: 'api.example', requests: 100_000, pause: 10 }, until.signal);
  await oracle.until((arrivals) => arrivals.length > 5);
  for (let dead = 0; dead < 2; dead++) {
    await layby.kill9('queue');
    const now = (await oracle.requests()).length;
    await oracle.until((arrivals) => arrivals.length > now + 20);
  }
  until.abort();
  const records = await online;
  t.same(
    records.filter(({ status }) => status !== 200),
    [],
  );
  await untilDrained(layby);
  t.same(await outcomesAtTheQueue(layby), {});

  const cut = interfaceDown(road);
  t.teardown(() => cut.clear());
  await cut.inject();
  await layby.untilLine((line) => line.includes('"held"'));
  await layby.kill9('queue');
  const stored = await call('http://api.example/waits', { method: 'PUT', body: 'a' });
  t.equal(stored.status, 307, `while the queue is being started again: ${Math.round(stored.ms)} ms`);
  await cut.clear();
  await untilDrained(layby);
  t.ok((await oracle.requests()).some(({ path }) => path === '/waits'));
});

t.test('a dead Envoy is started again, and goes on', { skip: noRoad }, async (t) => {
  const { road, oracle, layby, call } = await makeScene(t);
  const cut = interfaceDown(road);
  t.teardown(() => cut.clear());
  await cut.inject();
  await layby.untilLine((line) => line.includes('"held"'));
  t.equal((await call('http://api.example/before', { method: 'PUT', body: 'a' })).status, 307);
  const before = layby.pidOf('envoy');
  await layby.kill9('envoy');
  // curl asks until somebody listens: refused connections are all that an app sees meanwhile.
  const after = await call('http://api.example/after', {
    ...{
      method: 'PUT',
      body: 'a',
      args: ['--retry', '50', '--retry-connrefused', '--retry-delay', '0', '--retry-max-time', '20'],
    },
  });
  t.equal(after.status, 307, 'held from the start');
  t.not(layby.pidOf('envoy'), before);
  await cut.clear();
  await untilDrained(layby);
  t.same((await oracle.requests()).map(({ path }) => path).sort(), ['/after', '/before']);
});

t.test(
  'a start without signal and without the policy files uses the last good policy',
  { skip: noRoad },
  async (t) => {
    const scene = await makeScene(t);
    const { road, oracle, call, dir } = scene;
    const cut = interfaceDown(road);
    t.teardown(() => cut.clear());
    await cut.inject();
    t.equal((await call('http://api.example/before', { method: 'PUT', body: 'a' })).status, 307);
    await scene.layby.kill9('all');
    const file = `${dir}/data.policy.yaml`;
    await rename(file, `${file}.gone`);
    // `again` without a policy of its own would be the demo's: the same command line as before, and no file at its path.
    const { layby: again } = {
      layby: await scene.again({ policyFiles: [file], ...{ policy: undefined as never } }),
    };
    t.equal((await call('http://api.example/after', { method: 'PUT', body: 'a' })).status, 307);
    t.match(await again.status(), { link: 'down', destinations: [{ name: 'api', entries: 2 }] });
    await cut.clear();
    await untilDrained(again);
    t.same((await oracle.requests()).map(({ path }) => path).sort(), ['/after', '/before']);
    t.equal(
      (await curl('http://api.example/online', { road, via: again.outbound, maxTime: 10 })).status,
      200,
    );
    await rm(`${file}.gone`);
  },
);
