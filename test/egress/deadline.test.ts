import { mock } from 'node:test';
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

t.test('while bytes of the request are on their way the time does not run', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const deadline = new Deadline(5_000, new AbortController().signal);
  deadline.extend();
  mock.timers.tick(10_000);
  t.notOk(deadline.signal.aborted, 'it has not begun');
  deadline.begin();
  for (let n = 0; n < 10; n++) {
    mock.timers.tick(4_000);
    deadline.extend();
  }
  t.notOk(deadline.signal.aborted);
  mock.timers.tick(5_000);
  t.match(deadline.reason, { message: 'no answer within 5 s' });
});
