// Rounds of work: what of many changes becomes one, how far apart they are, and what happens when they fail.

import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { KubernetesError } from '../../src/policy/sources/kubernetes/refusal.ts';
import { Rounds, type RoundsOptions } from '../../src/policy/sources/kubernetes/rounds.ts';

const EVERY_MS = 100;

/** `run` is given the number of the round. */
function rounds(t: Test, run: (n: number) => Promise<void>, more: Partial<RoundsOptions> = {}) {
  const began: number[] = [];
  const ended: number[] = [];
  const problems: string[] = [];
  const all = new Rounds({
    ...{ every: EVERY_MS, quiet: 20, shortestPause: 100, longestPause: 400 },
    run: async () => {
      began.push(performance.now());
      await run(began.length);
      ended.push(performance.now());
    },
    onProblem: ({ message }) => problems.push(message),
    ...more,
  });
  t.teardown(() => all.close());
  const until = async (n: number) => {
    while (began.length < n) await sleep(5);
  };
  /** ms between the beginnings. */
  const gaps = () => began.slice(1).map((at, i) => at - began[i]!);
  return { all, began, ended, problems, until, gaps };
}

const away = async (): Promise<never> => {
  throw new KubernetesError(0, 'nobody answers');
};

t.test('changes in a row are one round, and rounds are apart', async (t) => {
  const { all, began, ended, until } = rounds(t, () => sleep(30));
  const from = performance.now();
  for (let i = 0; i < 10; i += 1) all.soon();
  await until(1);
  t.ok(began[0]! - from >= 15, 'not at once');
  all.soon();
  all.at(performance.now());
  await until(2);
  t.ok(
    began[1]! - ended[0]! >= EVERY_MS - 5,
    'what was asked for during a round is a round of its own, later',
  );
  await sleep(3 * EVERY_MS);
  t.equal(began.length, 2);
});

t.test('a round may ask for the next, and a change comes before it', async (t) => {
  const wanted: { all?: Rounds } = {};
  const { all, gaps, until } = rounds(t, async (n) => {
    if (n < 3) wanted.all?.at(performance.now() + (n === 1 ? 300 : 60_000));
  });
  wanted.all = all;
  all.soon();
  await until(2);
  t.ok(gaps()[0]! >= 290, `${gaps()}`);
  all.soon();
  await until(3);
  t.ok(gaps()[1]! < 1_000, `${gaps()}`);
});

t.test('failures: longer and longer, whatever changes meanwhile, told once; then as before', async (t) => {
  const { all, problems, gaps, until } = rounds(t, async (n) => {
    if (n <= 4) await away();
  });
  all.soon();
  const busy = setInterval(() => all.soon(), 10);
  await until(6);
  clearInterval(busy);
  t.same(problems, ['nobody answers']);
  const [first, , third, fourth, last] = gaps();
  t.ok(first! >= 50 && first! <= 250, `${gaps()}`);
  t.ok(third! >= 200 && fourth! >= 200, `${gaps()}`);
  t.ok(last! < 200, `${gaps()}`);
});

t.test('a server that says when to come back is not asked before', async (t) => {
  const { all, gaps, until } = rounds(t, async (n) => {
    if (n === 1) throw new KubernetesError(429, 'too much to do', { retryAfter: 700 });
  });
  all.soon();
  await until(2);
  t.ok(gaps()[0]! >= 690, `${gaps()}`);
});

t.test('a pause ends where the server may be there again', async (t) => {
  const { all, until, gaps } = rounds(t, async (n) => (n === 1 ? away() : undefined), {
    shortestPause: 60_000,
    longestPause: 60_000,
  });
  all.soon();
  await until(1);
  await sleep(10);
  all.wake();
  await until(2);
  t.ok(gaps()[0]! < 5_000, `${gaps()}`);
  all.wake();
  await sleep(1_300);
  t.equal(gaps().length, 1, 'and is no round of its own');
});

t.test('closing waits for the round under way, and there is no other', async (t) => {
  let over = false;
  const { all, began, problems, until } = rounds(t, async () => {
    await sleep(50);
    over = true;
    await away();
  });
  all.soon();
  await until(1);
  all.soon();
  await all.close();
  t.ok(over);
  all.soon();
  await sleep(3 * EVERY_MS);
  t.equal(began.length, 1);
  t.same(problems, [], 'an end is no problem');
});
