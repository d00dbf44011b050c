import t from 'tap';
import { timerMs } from '../../src/platform/timer.ts';

t.test('a timer gets a length that it can have, whatever comes from outside', async (t) => {
  const longest = 2 ** 31 - 1;
  for (const [ms, expected] of [
    [0, 0],
    [1.5, 1.5],
    [-5, 0],
    [Number.NaN, 0],
    [Number.NEGATIVE_INFINITY, 0],
    [longest, longest],
    [longest + 1, longest],
    [Number.POSITIVE_INFINITY, longest],
  ] as const)
    t.equal(timerMs(ms), expected, `${ms}`);
});
