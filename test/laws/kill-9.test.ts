// kill -9 at any moment, of everything or of the queue alone, in the middle of storing or of replaying: every entry that had a
// receipt arrives, and none is torn (laws 1, 2, 3, 5 and 6).

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeScene, untilDrained } from '../e2e/scene.ts';
import { appRecordsIn } from '../rig/app.ts';
import { check } from '../rig/checker.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import type { AppRecord } from '../rig/load-plan.ts';
import { noRoad } from '../rig/namespaces.ts';
import { between, randomFrom } from '../rig/random.ts';

t.setTimeout(290_000);

const ROUNDS = 20;
const seed = Number(process.env.LAYBY_SEED ?? Date.now() % 2 ** 31);

t.test(`20 kills at random moments (LAYBY_SEED=${seed})`, { skip: noRoad }, async (t) => {
  const random = randomFrom(seed);
  const scene = await makeScene(t);
  const { road, oracle, load } = scene;
  const cut = interfaceDown(road);
  t.teardown(() => cut.clear());
  const app: AppRecord[] = [];

  const store = async (round: number, signal: AbortSignal) => {
    const common = { host: 'api.example', seed: seed + round, timeout: 4_000 };
    const plans = [
      { from: round * 1000, requests: 300, concurrency: 4, keys: 8, bytes: [0, 60_000] as const },
      {
        ...{
          from: round * 1000 + 500,
          requests: 15,
          concurrency: 3,
          keys: 3,
          bytes: [100_000, 3_000_000] as const,
        },
        ...{ prefix: '/large', method: 'POST' },
      },
    ];
    const sent = plans.map(async (plan, at) => {
      const out = join(scene.dir, `app-${round}-${at}.jsonl`);
      return load({ ...common, ...plan, out }, signal).catch((error: Error) => {
        // Told to end before it had begun, or when it was already ending.
        if (signal.aborted && error.message.includes('ended with null'))
          return appRecordsIn(out).catch(() => []);
        throw error;
      });
    });
    app.push(...(await Promise.all(sent)).flat());
  };

  for (let round = 1; round <= ROUNDS; round++) {
    const victim = random() < 0.5 ? 'all' : 'queue';
    const moment = round % 2 === 1 ? 'storing' : 'replaying';
    const { layby } = scene;
    const received = (await oracle.requests()).length;
    await cut.inject();
    const sending = new AbortController();
    const storing = store(round, sending.signal);
    await layby.untilLine(fresh(layby.lines, /"msg":"stored"/));
    if (moment === 'storing') {
      await sleep(between(random, [0, 500]));
      await layby.kill9(victim);
    }
    // The apps go on for a moment, whatever they get now.
    await sleep(moment === 'storing' ? 100 : 400);
    sending.abort();
    await storing;
    if (moment === 'replaying') {
      await cut.clear();
      await oracle.until((arrivals) => arrivals.length > received);
      await sleep(between(random, [0, 300]));
      await layby.kill9(victim);
    }
    await cut.clear();
    if (victim === 'all') await scene.again();
    await untilDrained(scene.layby);
  }

  const receipts = app.filter(({ entryId }) => entryId !== null);
  const arrivals = await oracle.requests();
  // Keys of both loads have the same names and are different paths.
  for (const method of ['PUT', 'POST']) {
    const { violations, ...counts } = check(
      app.filter((record) => record.method === method),
      arrivals.filter((arrival) => arrival.method === method),
      {
        mayChange: ['host'],
        // What an app gets from Envoy while there is no queue: 507 where the body outgrew what Envoy keeps while it waits.
        expected: [503, 507],
        unfinished: true,
      },
    );
    t.comment(`${method}: ${JSON.stringify(counts)}`);
    t.same(violations.slice(0, 10), [], `${method}, LAYBY_SEED=${seed}`);
  }
  t.ok(receipts.length > ROUNDS * 10, `${receipts.length} receipts`);
});

/** True of lines that come from now on. */
function fresh(lines: readonly string[], pattern: RegExp): (line: string) => boolean {
  const old = new Set(lines);
  return (line) => pattern.test(line) && !old.has(line);
}
