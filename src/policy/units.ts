// The units an operator may write: durations, sizes, rates. The patterns go into the schema and the numbers into the
// policy, from the same tables, so the two cannot disagree.

import { LaybyError } from '../telemetry/error.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** The longest duration, ms: a hundred years. Envoy takes no more than 315,576,000,000 s, and a date stays one. */
const LONGEST_DURATION = 100 * 365 * 24 * HOUR;

/** ms in each unit */
const DURATIONS: Record<string, number> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: 24 * HOUR };

/** bytes in each unit: decimal without the i, binary with it, as IEC 80000-13 has it */
const SIZES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** bytes per second in each unit */
const RATES: Record<string, number> = {
  'bit/s': 1 / 8,
  'kbit/s': 1e3 / 8,
  'Kbit/s': 1e3 / 8,
  'Mbit/s': 1e6 / 8,
  'Gbit/s': 1e9 / 8,
  ...Object.fromEntries(Object.entries(SIZES).map(([unit, bytes]) => [`${unit}/s`, bytes])),
};

// Starts with 1 to 9: a zero duration, size or rate would mean "drop everything", "store nothing" or "send nothing".
// Only what both JavaScript and RE2 (Kubernetes) know.
const patternOf = (units: Record<string, number>) =>
  `^[1-9][0-9]{0,14}(\\.[0-9]{1,3})?(${Object.keys(units).join('|')})$`;

export const DURATION_PATTERN = patternOf(DURATIONS);
export const SIZE_PATTERN = patternOf(SIZES);
export const RATE_PATTERN = patternOf(RATES);

export const DURATION_FORM = 'a duration like 90s, 15m, 12h or 7d';
export const SIZE_FORM = 'a size like 500MB or 20GiB';
export const RATE_FORM = 'a rate like 8Mbit/s or 500KiB/s';

const parse = (
  text: string,
  pattern: string,
  units: Record<string, number>,
  form: string,
  most = Number.MAX_SAFE_INTEGER,
): number => {
  const match = new RegExp(pattern).exec(text);
  const unit = match?.[2];
  const value =
    unit === undefined ? Number.NaN : Math.round(Number(text.slice(0, -unit.length)) * units[unit]!);
  if (value >= 1 && value <= most) return value;
  const reason = Number.isNaN(value) ? '' : value < 1 ? ', which is too small' : ', which is too large';
  throw new LaybyError('LAYBY_UNIT_INVALID', `expected ${form}, but found ${JSON.stringify(text)}${reason}`);
};

/** ms. Throws LAYBY_UNIT_INVALID. */
export const parseDuration = (text: string): number =>
  parse(text, DURATION_PATTERN, DURATIONS, DURATION_FORM, LONGEST_DURATION);

/** bytes. Throws LAYBY_UNIT_INVALID. */
export const parseSize = (text: string): number => parse(text, SIZE_PATTERN, SIZES, SIZE_FORM);

/** bytes per second. Throws LAYBY_UNIT_INVALID. */
export const parseRate = (text: string): number => parse(text, RATE_PATTERN, RATES, RATE_FORM);

/** As short as it is exact: `2s`, `1500ms`. */
export const seconds = (ms: number): string => (ms % SECOND === 0 ? `${ms / SECOND}s` : `${ms}ms`);
