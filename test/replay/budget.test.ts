import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Budget } from '../../src/replay/budget.ts';
import { logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';

const log = logger('queue');
log.level = 'silent';

t.test('what was sent is counted by day and month, and is there after a restart', async (t) => {
  const file = join(testdir(t), 'data', 'link-usage.json');
  let now = Date.UTC(2026, 10, 29, 12);
  let budget = new Budget(file, log, () => now);
  const { moved, end } = budget.begin('lte', 1_000);
  t.same(budget.used('lte'), { day: 1_000, month: 1_000 }, 'what is under way counts whole');
  moved(300);
  t.same(budget.used('lte'), { day: 1_000, month: 1_000 });
  end();
  t.same(budget.used('lte'), { day: 300, month: 300 }, 'what was not sent comes back');
  t.same(budget.used('wifi'), { day: 0, month: 0 });
  await budget.close();
  budget = new Budget(file, log, () => now);
  t.same(budget.used('lte'), { day: 300, month: 300 });
  now = Date.UTC(2026, 10, 30, 0);
  t.same(budget.used('lte'), { day: 0, month: 300 });
  now = Date.UTC(2026, 11, 1, 0);
  t.same(budget.used('lte'), { day: 0, month: 0 });
  await budget.close();
});

t.test(
  'a clock that is not set does not give a budget anew, nor does one that jumps ahead for a while',
  async (t) => {
    let now = Date.UTC(2026, 10, 29);
    const budget = new Budget(join(testdir(t), 'usage.json'), log, () => now);
    budget.begin('lte', 0).moved(500);
    now = 1_000;
    t.same(budget.used('lte'), { day: 500, month: 500 });
    budget.begin('lte', 0).moved(1);
    now = Date.UTC(2031, 0, 1);
    budget.begin('lte', 0).moved(7);
    now = Date.UTC(2026, 10, 29);
    t.same(budget.used('lte'), { day: 501, month: 501 });
    await budget.close();
  },
);

t.test('a file that is damaged counts from nothing, and does not stop the queue', async (t) => {
  const file = join(testdir(t), 'usage.json');
  writeFileSync(file, '{"lte":');
  const budget = new Budget(file, log);
  t.same(budget.used('lte'), { day: 0, month: 0 });
  await budget.close();
});
