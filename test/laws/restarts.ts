// Law 3 while parts die, one, two or all of them, by SIGKILL or SIGTERM, and the whole mesh is started again, under load and with a link
// that is cut. Used by test/laws/restarts.test.ts, and with every combination many times by test/slow/restarts.test.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { makeScene, untilDirect, untilDrained } from '../e2e/scene.ts';
import { check } from '../rig/checker.ts';
import { eitherCut } from '../rig/faults/either-cut.ts';
import { flap } from '../rig/faults/flap.ts';
import type { Layby, Part } from '../rig/layby.ts';
import { between, randomFrom } from '../rig/random.ts';

const PARTS = ['queue', 'control-plane', 'envoy'] as const;

export interface Restart {
  /** `mesh`: all of it, `layby up` included. */
  parts: readonly Part[] | 'mesh';
  signal: 'SIGKILL' | 'SIGTERM';
}

/** Each part, each two, all three, and the whole mesh, by both signals. */
export const EVERY_RESTART: readonly Restart[] = [1, 2, 3, 4, 5, 6, 7, 'mesh' as const].flatMap((set) =>
  (['SIGKILL', 'SIGTERM'] as const).map((signal) => ({
    parts: set === 'mesh' ? set : PARTS.filter((_, at) => set & (1 << at)),
    signal,
  })),
);

const KEYS = 6;

export const underRestarts = async (t: Test, restarts: readonly Restart[], seed: number): Promise<void> => {
  const random = randomFrom(seed);
  const scene = await makeScene(t);
  const { road, oracle, load } = scene;
  const flapping = flap(eitherCut(road, seed + 1), { seed, up: [300, 2_000], down: [100, 1_500] });
  t.teardown(() => flapping.clear());
  const until = new AbortController();
  const loading = load(
    {
      ...{ host: 'api.example', requests: 1_000_000, keys: KEYS, concurrency: KEYS, pause: 60, seed },
      ...{ bytes: [0, 20_000], large: { share: 0.03, bytes: [1_100_000, 2_000_000] }, timeout: 60_000 },
    },
    until.signal,
  );
  await oracle.until((arrivals) => arrivals.length > 20);
  await flapping.inject();
  for (const { parts, signal } of restarts) {
    await sleep(between(random, [100, 700]));
    if (parts === 'mesh') {
      if (signal === 'SIGKILL') await scene.layby.kill9('all');
      else await scene.layby.stop();
      await scene.again();
      continue;
    }
    await scene.layby.end(parts, signal);
    await untilReady(scene.layby, parts);
  }
  // On a slow machine the queue may have been away whenever the link was.
  await scene.layby.untilLine((line) => line.includes('"msg":"stored"'));
  await flapping.clear();
  // How many went straight between the restarts is the disk's to say; once the link stays, what waits runs out under the load.
  await untilDirect(scene.layby, 240_000);
  const direct = Date.now();
  await sleep(1_000);
  until.abort();
  const app = await loading;
  await untilDrained(scene.layby, 240_000);
  const { violations, ...counts } = check(app, await oracle.requests(), {
    mayChange: ['host'],
    // What an app gets from Envoy while there is no queue.
    expected: [503, 507],
    unfinished: true,
  });
  const unconfirmed = scene.layby.lines.filter((line) => line.includes('does not confirm')).length;
  t.comment(
    `${unconfirmed} holds not confirmed in time; ${restarts.length} restarts, ${flapping.cuts} cuts: ${JSON.stringify(counts)}`,
  );
  t.same(violations.slice(0, 10), [], `LAYBY_SEED=${seed}`);
  t.ok(counts.receipts > 0, 'some were stored');
  const straight = app.filter(({ start, status }) => start > direct && status === 200).length;
  t.ok(straight > 0, 'requests go straight again after them');
};

/** Resolves when new processes are there for these parts and traffic can flow. */
const untilReady = async (layby: Layby, parts: readonly Part[]): Promise<void> => {
  for (const deadline = performance.now() + 30_000; ; ) {
    const { status, body } = await layby.get('/readyz');
    const running = new Set(layby.pids().map(({ name }) => name));
    if (status === 200 && parts.every((part) => running.has(part))) return;
    if (performance.now() > deadline) throw new Error(`not ready: ${status} ${body}`);
    await sleep(50); // The admin listener is asked, it does not tell.
  }
};
