import t from 'tap';
import { pauseMs } from '../../src/replay/backoff.ts';
import { isBusy, outcomeOf, retryAfterMs } from '../../src/replay/outcome.ts';

t.test('each status has one outcome', async (t) => {
  for (const [status, outcome] of [
    [200, 'delivered'],
    [204, 'delivered'],
    [301, 'dead'],
    [400, 'dead'],
    [401, 'unauthorized'],
    [403, 'unauthorized'],
    [404, 'dead'],
    [405, 'dead'],
    [408, 'retry'],
    [409, 'dead'],
    [412, 'dead'],
    [421, 'retry'],
    [422, 'dead'],
    [423, 'retry'],
    [425, 'retry'],
    [429, 'retry'],
    [500, 'retry'],
    [501, 'dead'],
    [502, 'retry'],
    [503, 'retry'],
    [504, 'retry'],
    [505, 'dead'],
    [507, 'retry'],
    [510, 'dead'],
    [520, 'retry'],
  ] as const) {
    t.equal(outcomeOf(status), outcome, String(status));
  }
});

t.test(
  'of answers that are tried again some speak of the server, and some perhaps of the request',
  async (t) => {
    for (const status of [408, 425, 429, 502, 503, 504, 507, 522]) t.ok(isBusy(status), String(status));
    for (const status of [401, 403, 421, 423, 500]) t.notOk(isBusy(status), String(status));
  },
);

t.test('Retry-After is seconds or a date of HTTP, within a day, and nothing else', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const after = (value: string, ...more: string[]) => retryAfterMs(['Retry-After', value, ...more], now);
  for (const [value, ms] of [
    ['3', 3_000],
    [' 3 ', 3_000],
    ['Thu, 01 Jan 2026 00:00:05 GMT', 5_000],
    ['Thursday, 01-Jan-26 00:00:05 GMT', 5_000],
    ['Thu Jan  1 00:00:05 2026', 5_000],
    ['Thu, 01 Jan 2015 00:00:05 GMT', 0],
    ['2147484', 86_400_000],
    ['9'.repeat(400), 86_400_000],
    ['Fri, 01 Jan 2100 00:00:00 GMT', 86_400_000],
    ['soon', undefined],
    ['soon 1', undefined],
    ['-5', undefined],
    ['NaN', undefined],
    ['', undefined],
  ] as const)
    t.equal(after(value), ms, value.slice(0, 40));
  t.equal(retryAfterMs([], now), undefined);
  t.equal(
    after('Thu, 01 Jan 1970 00:10:05 GMT', 'Date', 'Thu, 01 Jan 1970 00:10:00 GMT'),
    5_000,
    'the clock of the server, where it says it',
  );
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
