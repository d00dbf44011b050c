import t from 'tap';
import { RetryBudget } from '../../src/replay/retry-budget.ts';

/** A destination that answers at once, and replay that asks it as often as it may: `entries` wait, of which `bad` are refused. */
const ask = (
  entries: number,
  bad: (entry: number, now: number) => boolean,
  seconds: number,
  comes: (entry: number) => number = () => 0,
) => {
  const budget = new RetryBudget(() => 0.5);
  const refusals = new Map(Array.from({ length: entries }, (_, n) => [n, 0]));
  const notBefore = new Map(Array.from({ length: entries }, (_, n) => [n, comes(n)]));
  const asked: number[] = [];
  const deliveredAt = new Map<number, number>();
  for (let now = 0; now < seconds * 1_000; now += 10) {
    const begun: { entry: number; isRetry: boolean; began: number }[] = [];
    const order = [...refusals].filter(([entry]) => (notBefore.get(entry) ?? 0) <= now);
    if (budget.isProbing) order.sort((a, b) => Number(b[1] > 0) - Number(a[1] > 0) || a[1] - b[1]);
    for (const [entry, refused] of order) {
      if (begun.length >= budget.concurrency(64)) break;
      const asking = { entry, isRetry: refused > 0, began: now };
      if (!budget.mayTry(asking.isRetry, now)) continue;
      budget.began(asking);
      begun.push(asking);
      asked.push(now);
    }
    for (const asking of begun) {
      budget.ended(asking);
      const { entry } = asking;
      if (bad(entry, now)) {
        const times = refusals.get(entry)! + 1;
        budget.refused(asking, now + 5, 30_000);
        refusals.set(entry, times);
        notBefore.set(entry, now + Math.min(30_000, 250 * 2 ** times));
      } else {
        if (budget.taken(asking, now + 5))
          for (const n of refusals.keys()) if (comes(n) <= now) notBefore.set(n, 0);
        refusals.delete(entry);
        deliveredAt.set(entry, now);
      }
    }
  }
  return {
    deliveredAt,
    waiting: refusals.size,
    during: (from: number, to: number) => asked.filter((at) => at >= from * 1_000 && at < to * 1_000).length,
  };
};

t.test('a destination that refuses everything is asked less and less', async (t) => {
  const { during, waiting } = ask(300, () => true, 120);
  t.equal(waiting, 300);
  t.ok(during(0, 5) < 350, `each once, and a few again: ${during(0, 5)}`);
  t.ok(during(60, 120) <= 12, `one every some seconds after a minute: ${during(60, 120)}`);
});

t.test('when it takes entries again all of them are there within the longest pause', async (t) => {
  const { during, waiting, deliveredAt } = ask(300, (_, now) => now < 60_000, 120);
  t.equal(waiting, 0);
  t.ok(Math.max(...deliveredAt.values()) < 95_000, `${Math.max(...deliveredAt.values())}`);
  t.ok(during(60, 120) < 340);
});

t.test('what is refused does not delay what is not', async (t) => {
  const { deliveredAt, during } = ask(600, (entry) => entry < 300, 60);
  t.equal(deliveredAt.size, 300);
  t.ok(Math.max(...deliveredAt.values()) < 5_000, `${Math.max(...deliveredAt.values())}`);
  t.ok(during(30, 60) < 30, `refused ones are tried one at a time: ${during(30, 60)}`);
});

t.test(
  'one that is refused now and then is tried again in time, whatever others are refused for ever',
  async (t) => {
    const isBad = (entry: number, now: number) => entry < 300 || (entry === 300 && now < 2_000);
    const { deliveredAt, during } = ask(800, isBad, 240, (entry) => Math.max(0, entry - 300) * 400);
    t.ok(deliveredAt.has(300));
    t.ok(during(120, 180) < 300, `${during(120, 180)} with 150 that are taken at once`);
  },
);
