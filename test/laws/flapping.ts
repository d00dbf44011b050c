// Laws 2, 3 and 7 under a link that flaps: requests of all methods, small and large, on many keys, while both kinds of cut come and
// go. Used by test/laws/flapping.test.ts, and with ten thousand requests by test/slow/flapping.test.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { makeScene, outcomesAtTheQueue, untilDrained } from '../e2e/scene.ts';
import { check } from '../rig/checker.ts';
import { eitherCut } from '../rig/faults/either-cut.ts';
import { flap } from '../rig/faults/flap.ts';

export interface Flapping {
  requests: number;
  keys: number;
  /** Connections of the apps. */
  concurrency: number;
  /** Rests so long after each answer, ms. */
  pause: number;
  seed: number;
  store?: Record<string, unknown>;
}

const REPLAY = 4;

export const underFlapping = async (
  t: Test,
  { requests, keys, concurrency, pause, seed, store = {} }: Flapping,
): Promise<void> => {
  const { road, oracle, layby, load } = await makeScene(t, {
    destinations: ({ url }) => [{ name: 'api', url, store, replay: { concurrency: REPLAY } }],
  });
  const flapping = flap(eitherCut(road, seed + 1), { seed, up: [200, 3_000], down: [200, 3_000] });
  t.teardown(() => flapping.clear());
  const loading = load({
    ...{ host: 'api.example', requests, keys, concurrency, pause, seed },
    methods: ['PUT', 'PUT', 'POST', 'DELETE'],
    bytes: [0, 20_000],
    large: { share: 0.02, bytes: [1_100_000, 3_000_000] },
    idempotent: false,
    timeout: 120_000,
  });
  await oracle.until((arrivals) => arrivals.length > 10);
  await flapping.inject();
  const app = await loading;
  await flapping.clear();
  await untilDrained(layby, 180_000);
  // An answer that nobody waits for any more may still be on its way into the record.
  await sleep(500);
  const { violations, ...counts } = check(app, await oracle.requests(), {
    mayChange: ['host'],
    duplicates: 'idempotent',
  });
  const outcomes = await outcomesAtTheQueue(layby);
  t.comment(`${flapping.cuts} cuts: ${JSON.stringify(counts)}, at the queue ${JSON.stringify(outcomes)}`);
  t.same(violations.slice(0, 10), [], `LAYBY_SEED=${seed} repeats it`);
  t.equal(counts.receipts + counts.answered, requests, 'every request had its answer or its receipt');
  t.equal(counts.delivered, requests, 'and arrived');
  t.ok(
    counts.duplicates <= flapping.cuts * (concurrency + REPLAY),
    `${counts.duplicates} duplicates: at most one for each cut and connection`,
  );
  t.ok(counts.receipts > 0 && counts.answered > 0, 'some were stored, some were not');
};
