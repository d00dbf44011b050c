// Law 3 over restarts of everything: what is stored is not overtaken by a request that comes while the queue has not reported yet.

import t from 'tap';
import { makeScene, untilDrained } from '../e2e/scene.ts';
import { check } from '../rig/checker.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import type { AppRecord } from '../rig/load-plan.ts';
import { noRoad } from '../rig/namespaces.ts';

t.setTimeout(290_000);

const ROUNDS = 8;
const KEYS = 3;

t.test(
  'a request that comes as soon as the port is open after a restart never passes an older one that is stored',
  { skip: noRoad },
  async (t) => {
    const scene = await makeScene(t);
    const { road, oracle, load } = scene;
    const cut = interfaceDown(road);
    t.teardown(() => cut.clear());
    const app: AppRecord[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const common = { host: 'api.example', keys: KEYS, concurrency: KEYS, seed: round + 1 };
      await cut.inject();
      await scene.layby.untilLine((line) => line.includes('"held"'));
      const stored = await load({ ...common, requests: KEYS, from: round * 100_000 });
      t.equal(stored.filter(({ entryId }) => entryId !== null).length, KEYS, 'stored');
      if (round % 2 === 0) await scene.layby.stop();
      else await scene.layby.kill9('all');
      await cut.clear();
      // These begin while nothing listens, and so meet the very first moment in which something does.
      const enough = new AbortController();
      const newer = load(
        { ...common, requests: 10_000, from: round * 100_000 + 1_000, pause: 5 },
        enough.signal,
      );
      await scene.again();
      await untilDrained(scene.layby);
      enough.abort();
      app.push(...stored, ...(await newer).filter(({ status }) => status !== 0));
      await untilDrained(scene.layby);
    }
    const { violations, ...counts } = check(app, await oracle.requests(), {
      mayChange: ['host'],
      unfinished: true,
    });
    t.comment(JSON.stringify(counts));
    t.same(violations.slice(0, 10), []);
  },
);

t.test(
  'a queue that restarts while the control plane hangs still obeys a link override',
  { skip: noRoad },
  async (t) => {
    const { road, oracle, layby, call } = await makeScene(t, {
      destinations: ({ url }) => [
        { name: 'api', url },
        { name: 'other', url },
      ],
    });
    const cut = interfaceDown(road);
    t.teardown(() => cut.clear());
    await cut.inject();
    for (const name of ['api', 'other']) {
      const { status } = await call(`http://${name}.example/${name}`, { method: 'PUT', body: 'a' });
      t.equal(status, 307);
    }
    await layby.link('down', 'api');
    const pid = layby.pidOf('control-plane');
    process.kill(pid, 'SIGSTOP');
    t.teardown(() => {
      if (layby.pids().some((proc) => proc.pid === pid)) process.kill(pid, 'SIGCONT');
    });
    await layby.kill9('queue');
    await cut.clear();
    await oracle.until((arrivals) => arrivals.some(({ path }) => path === '/other'));
    t.notOk((await oracle.requests()).some(({ path }) => path === '/api'));
    process.kill(pid, 'SIGCONT');
    await layby.link('auto');
    await oracle.until((arrivals) => arrivals.some(({ path }) => path === '/api'));
  },
);
