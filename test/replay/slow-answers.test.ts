import t from 'tap';
import type { Lease } from '../../src/replay/delivery-ledger.ts';
import { nextSlowAnswer, slowAnswers } from '../../src/replay/slow-answers.ts';

const lease = (movedAt: number, isEntry = true): Lease => ({
  ...{ id: String(movedAt), end: new AbortController(), began: 0, movedAt, isEntry },
});

t.test('a delivery of which nothing has moved for a minute waits for a slow answer', async (t) => {
  const leases = [lease(0), lease(30_000), lease(50_000), lease(Number.POSITIVE_INFINITY)];
  t.equal(slowAnswers(leases, 59_999), 0);
  t.equal(nextSlowAnswer(leases, 59_999), 60_000);
  t.equal(slowAnswers(leases, 60_000), 1);
  t.equal(nextSlowAnswer(leases, 60_000), 90_000);
  t.equal(slowAnswers(leases, 200_000), 3);
  t.equal(nextSlowAnswer(leases, 200_000), Number.POSITIVE_INFINITY);
});

t.test('a body that is no entry yet takes up no attempt, so it frees none', async (t) => {
  t.equal(slowAnswers([lease(0, false)], 200_000), 0);
  t.equal(nextSlowAnswer([lease(0, false)], 0), Number.POSITIVE_INFINITY);
});

t.test('so many at most are not counted', async (t) => {
  const leases = Array.from({ length: 40 }, () => lease(0));
  t.equal(slowAnswers(leases, 200_000), 16);
});
