// The soak's verdict: what it calls flat, and what it does not.

import t from 'tap';
import { type Minute, minuteRow, slopeOf, verdictOf } from '../../bench/soak-report.ts';

/** Twenty minutes of 5,000 requests, with the memory that `mb` says. */
const minutes = (mb: (minute: number) => number): Minute[] =>
  Array.from({ length: 20 }, (_, at) => ({
    minute: at + 1,
    requests: (at + 1) * 5_000,
    stored: (at + 1) * 3_000,
    waiting: 7,
    parts: { queue: { rssAnon: mb(at + 1) * 1e6, heapUsed: 25e6 } },
  }));

t.test('the slope is that of the line through the points', async (t) => {
  t.equal(
    slopeOf([
      [0, 1],
      [1, 3],
      [2, 5],
    ]),
    2,
  );
  t.equal(slopeOf([[7, 1]]), 0);
});

t.test(
  'memory that levels off after the warm-up, or goes down, is flat; what grows with requests is not',
  async (t) => {
    t.match(
      verdictOf(
        'queue',
        minutes((at) => 100 + 25 * (1 - Math.exp(-at / 2))),
      ),
      { flat: true },
    );
    t.match(
      verdictOf(
        'queue',
        minutes((at) => 130 - at),
      ),
      { flat: true },
    );
    const grows = verdictOf(
      'queue',
      minutes((at) => 100 + at),
    );
    t.match(grows, {
      flat: false,
      words: /^queue: GROWS: 12\.0 MB over 60000 requests, 200\.0 bytes a request/,
    });
  },
);

t.test('a minute is a line of the table, in MB', async (t) => {
  t.equal(minuteRow(minutes(() => 100)[0]!), '| 1 | 5000 | 3000 | 7 | 100.0 |  | 25.0 |  |  |  |  |  |');
});
