import t from 'tap';
import { pauseMs } from '../../src/replay/backoff.ts';
import { outcomeOf, retryAfterMs } from '../../src/replay/outcome.ts';

t.test('each status has one outcome', async (t) => {
  for (const [status, outcome] of [
    [200, 'delivered'],
    [204, 'delivered'],
    [301, 'dead'],
    [400, 'dead'],
    [401, 'unauthorized'],
    [403, 'unauthorized'],
    [404, 'dead'],
    [408, 'retry'],
    [412, 'dead'],
    [425, 'retry'],
    [429, 'retry'],
    [500, 'retry'],
    [503, 'retry'],
    [507, 'retry'],
  ] as const) {
    t.equal(outcomeOf(status), outcome, String(status));
  }
});

t.test('Retry-After is seconds or a date, and nothing else', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  t.equal(retryAfterMs('3', now), 3_000);
  t.equal(retryAfterMs('Thu, 01 Jan 2026 00:00:05 GMT', now), 5_000);
  t.equal(retryAfterMs('Thu, 01 Jan 2015 00:00:05 GMT', now), 0);
  t.equal(retryAfterMs('soon', now), undefined);
  t.equal(retryAfterMs(undefined, now), undefined);
});

t.test('pauses grow to the policy’s longest and are spread over the whole of it', async (t) => {
  const most = () => 0.999999;
  t.equal(pauseMs(1, 30_000, most), 250);
  t.equal(pauseMs(2, 30_000, most), 500);
  t.equal(pauseMs(100, 30_000, most), 30_000);
  t.equal(
    pauseMs(100, 30_000, () => 0),
    0,
  );
});
