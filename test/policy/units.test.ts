// Durations, sizes and rates.

import t from 'tap';
import { parseDuration, parseRate, parseSize } from '../../src/policy/units.ts';

t.test('durations are in ms, sizes in bytes, rates in bytes per second', async (t) => {
  for (const [text, ms] of Object.entries({
    '250ms': 250,
    '90s': 90e3,
    '15m': 900e3,
    '12h': 43_200e3,
    '7d': 604_800e3,
    '1.5h': 5_400e3,
  }))
    t.equal(parseDuration(text), ms, text);
  for (const [text, bytes] of Object.entries({
    '1B': 1,
    '500MB': 5e8,
    '5kB': 5e3,
    '5KB': 5e3,
    '20GiB': 20 * 2 ** 30,
    '1.5GiB': 1.5 * 2 ** 30,
    '2TiB': 2 ** 41,
  }))
    t.equal(parseSize(text), bytes, text);
  for (const [text, rate] of Object.entries({
    '8Mbit/s': 1e6,
    '500KiB/s': 512_000,
    '64kbit/s': 8e3,
    '1Gbit/s': 125e6,
    '2MB/s': 2e6,
    '9bit/s': 1,
  }))
    t.equal(parseRate(text), rate, text);
});

t.test('nothing else is a unit, and no amount is zero or past what can be counted', async (t) => {
  for (const text of [
    '',
    '90',
    '90 s',
    '-1s',
    '0s',
    '0.5h',
    '1e3s',
    '1w',
    '1S',
    ' 1s',
    '1s\n',
    '1h30m',
    '36501d',
    '999999999999999d',
  ])
    t.throws(() => parseDuration(text), { code: 'LAYBY_UNIT_INVALID' }, JSON.stringify(text));
  for (const text of ['1', '1mb', '1Mb', '1GIB', '0B', '1XB', '999999999999999TB'])
    t.throws(() => parseSize(text), { code: 'LAYBY_UNIT_INVALID' }, text);
  for (const text of ['8Mbit', '8Mbps', '8mbit/s', '1bit/s', '8MB'])
    t.throws(() => parseRate(text), { code: 'LAYBY_UNIT_INVALID' }, text);
});
