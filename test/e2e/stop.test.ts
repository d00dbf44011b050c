// SIGINT and SIGTERM end everything at once, also with a body on its way in and an entry on its way out; the next start goes on.

import t from 'tap';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene, untilDrained } from './scene.ts';

t.setTimeout(290_000);

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  t.test(
    `${signal} ends everything in under 2 s, and the next start goes on`,
    { skip: noRoad },
    async (t) => {
      const scene = await makeScene(t);
      const { road, oracle, call, layby } = scene;
      const cut = interfaceDown(road);
      t.teardown(() => cut.clear());
      await cut.inject();
      await layby.untilLine((line) => line.includes('"held"'));
      for (const path of ['/1', '/2', '/3'])
        t.equal(
          (await call(`http://api.example${path}`, { method: 'PUT', body: 'x'.repeat(500_000) })).status,
          307,
        );
      // The first stalls on its way out, and one more is on its way in.
      await oracle.answer({ stall: 1000, times: 1 });
      const begins = oracle.begins(() => true);
      const slow = new AbortController();
      t.teardown(() => slow.abort());
      const endless = async function* () {
        while (!slow.signal.aborted) {
          yield Buffer.alloc(1000, 'x');
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      const torn = call('http://api.example/torn', {
        method: 'PUT',
        body: { stream: endless() },
        signal: slow.signal,
      });
      await cut.clear();
      await begins;

      const started = performance.now();
      process.kill(layby.pidOf('layby up'), signal);
      const code = await layby.ended;
      const ms = performance.now() - started;
      t.equal(code, 0);
      t.comment(`${Math.round(ms)} ms`);
      t.ok(ms < 2_000, `${Math.round(ms)} ms`);
      t.same(layby.pids(), [], 'no child is left');
      t.not((await torn).status, 307);

      await oracle.reset();
      const again = await scene.again();
      await untilDrained(again);
      const whole = (await oracle.requests()).filter((arrival) => !arrival.torn);
      // One whose answer was on its way back at the signal may come a second time; none is missing, and nothing of /torn came.
      t.same([...new Set(whole.map(({ path }) => path))].sort(), ['/1', '/2', '/3']);
      t.match(await again.stop(), { code: 0, left: [] });
    },
  );
