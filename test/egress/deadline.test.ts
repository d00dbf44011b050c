import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Deadline } from '../../src/egress/deadline.ts';

t.test('a deadline of more than 24 days is not over at once', async (t) => {
  const deadline = new Deadline(30 * 24 * 3_600_000, new AbortController().signal);
  deadline.begin();
  // A timer that overflows fires after 1 ms.
  await sleep(20);
  t.notOk(deadline.signal.aborted);
  deadline.over();
});
