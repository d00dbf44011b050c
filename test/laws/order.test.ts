// Law 3: whatever the link does, no call overtakes an older one with the same key, be it stored or sent directly.

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeScene } from '../e2e/scene.ts';
import { check } from '../rig/checker.ts';
import { blackhole } from '../rig/faults/blackhole.ts';
import { flap } from '../rig/faults/flap.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';

t.setTimeout(290_000);

const seed = Number(process.env.LAYBY_SEED ?? Date.now() % 2 ** 31);

for (const [kind, cutOf, down] of [
  // Long enough for the direct way to give up, and short enough for TCP to go on.
  ['blackhole', blackhole, [200, 4_500]],
  ['interface down', interfaceDown, [50, 800]],
] as const)
  t.test(`a flapping link, ${kind} (LAYBY_SEED=${seed})`, { skip: noRoad }, async (t) => {
    const { road, oracle, layby, load } = await makeScene(t);
    const flapping = flap(cutOf(road), { seed, up: [1_000, 3_500], down });
    t.teardown(() => flapping.clear());
    const until = new AbortController();
    const common = {
      host: 'api.example',
      keys: 3,
      concurrency: 3,
      requests: 100_000,
      pause: 150,
      timeout: 60_000,
    };
    const loads = [
      load({ ...common, seed, bytes: [0, 100_000] }, until.signal),
      load(
        { ...common, seed: seed + 1, from: 200_000, method: 'POST', prefix: '/post', bytes: [0, 1_500_000] },
        until.signal,
      ),
    ];
    await oracle.until((arrivals) => new Set(arrivals.map(({ method }) => method)).size === 2);
    await flapping.inject();
    // Some seeds cut for so short that nothing is lost for a while.
    let stored = 0;
    const lost = layby.untilLine((line) => {
      if (line.includes('"msg":"stored"')) stored += 1;
      return stored > 20;
    }, 100_000);
    void Promise.all([sleep(15_000), lost]).then(() => until.abort());
    const [puts, posts] = await Promise.all(loads);
    await flapping.clear();
    await layby.untilQueue((lines) => lines.length === 0, 30_000);
    const arrivals = await oracle.requests();
    const drained = layby.lines.filter((line) => /"from":"draining","to":"direct"/.test(line)).length;
    t.comment(`${drained} times from stored to direct`);
    t.ok(drained > 0);
    for (const [method, app] of Object.entries({ PUT: puts!, POST: posts! })) {
      const { violations, ...counts } = check(
        app,
        arrivals.filter((arrival) => arrival.method === method),
        { mayChange: ['host'] },
      );
      t.comment(`${method}, ${flapping.cuts} cuts: ${JSON.stringify(counts)}`);
      t.same(violations.slice(0, 10), [], `${method}, LAYBY_SEED=${seed}`);
      t.ok(counts.receipts > 0, 'some were stored');
      t.ok(counts.answered > 0, 'some went straight');
    }
  });
