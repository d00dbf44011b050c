import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Budget, UNSAVED_MAX } from '../../src/replay/budget.ts';
import { logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';

const log = logger('queue');
log.level = 'silent';

const HOUR = 3_600_000;

/** The clocks of a machine. `wall` may be set; `pass`: time goes by. */
const machine = (wall: number) => {
  const state = { wall, uptime: 60_000, bootId: 'a' };
  return {
    clock: {
      get bootId() {
        return state.bootId;
      },
      wall: () => state.wall,
      uptime: () => state.uptime,
    },
    set: (at: number) => {
      state.wall = at;
    },
    pass: (ms: number) => {
      state.wall += ms;
      state.uptime += ms;
    },
    /** The clock then says `at`. */
    boot: (at: number) => {
      Object.assign(state, { wall: at, uptime: 5_000, bootId: `${state.bootId}a` });
    },
  };
};

const send = (budget: Budget, bytes: number): void => void budget.reserve('lte', 0).spend(bytes);
const usedIn = (budget: Budget) => {
  const { day, month } = budget.used('lte');
  return [day, month];
};

t.test('what was sent is counted by day and month, and is there after a restart', async (t) => {
  const file = join(testdir(t), 'data', 'link-usage.json');
  const { clock, pass } = machine(Date.UTC(2026, 10, 29, 12));
  let budget = new Budget(file, log, clock);
  const reservation = budget.reserve('lte', 1_000);
  t.same(usedIn(budget), [1_000, 1_000], 'what is under way counts whole');
  reservation.spend(300);
  t.same(usedIn(budget), [1_000, 1_000]);
  reservation.release();
  t.same(usedIn(budget), [300, 300], 'what was not sent comes back');
  t.same(budget.used('wifi'), { day: 0, month: 0 });
  await budget.close();
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [300, 300]);
  const overnight = budget.reserve('lte', 100);
  overnight.spend(40);
  pass(12 * HOUR);
  t.same(usedIn(budget), [60, 400], 'at midnight what is still to be sent is for the new day');
  overnight.spend(60);
  overnight.release();
  t.same(usedIn(budget), [60, 400]);
  pass(24 * HOUR);
  pass(24 * HOUR);
  t.same(usedIn(budget), [0, 0]);
  await budget.close();
});

t.test(
  'a reservation moves with the link, and each byte counts for the link that it leaves over',
  async (t) => {
    const budget = new Budget(join(testdir(t), 'usage.json'), log);
    const days = () => [budget.used('wifi').day, budget.used('lte').day];
    const reservation = budget.reserve('wifi', 1_000);
    reservation.spend(400);
    reservation.switchTo('lte');
    t.same(days(), [400, 600]);
    reservation.spend(100);
    t.same(days(), [400, 600]);
    reservation.switchTo(undefined);
    t.same(days(), [400, 100], 'nobody knows the link');
    reservation.spend(50);
    reservation.switchTo('wifi');
    t.same(days(), [850, 100]);
    reservation.spend(600);
    t.same(days(), [1_000, 100], 'more than was reserved counts too');
    reservation.release();
    reservation.release();
    t.same(days(), [1_000, 100]);
    await budget.close();
  },
);

t.test('a clock that was never set neither loses what is used nor gives it twice', async (t) => {
  const file = join(testdir(t), 'usage.json');
  const { clock, set, boot, pass } = machine(1_000);
  let budget = new Budget(file, log, clock);
  send(budget, 500);
  t.same(usedIn(budget), [500, 500], 'no day is known yet');
  pass(30 * HOUR);
  t.same(usedIn(budget), [500, 500], 'and that days go by is not known either');
  set(Date.UTC(2026, 10, 29));
  t.same(usedIn(budget), [500, 500], 'it is for the day on which the clock is set');
  await budget.close();

  boot(2_000);
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [500, 500]);
  send(budget, 7);
  t.same(usedIn(budget), [507, 507]);
  await budget.close();
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [507, 507], 'also over a restart');
  set(Date.UTC(2026, 10, 30));
  t.same(usedIn(budget), [7, 507], 'another day: only what may have been sent on it');
  await budget.close();
});

t.test('a clock that is behind after a boot gives no budget anew until it is corrected', async (t) => {
  const file = join(testdir(t), 'usage.json');
  const { clock, set, boot } = machine(Date.UTC(2026, 10, 29));
  let budget = new Budget(file, log, clock);
  send(budget, 500);
  await budget.close();
  for (const sent of [1, 2, 3]) {
    boot(Date.UTC(2026, 1, 1));
    budget = new Budget(file, log, clock);
    send(budget, 1);
    t.same(usedIn(budget), [500 + sent, 500 + sent]);
    await budget.close();
  }
  budget = new Budget(file, log, clock);
  set(Date.UTC(2026, 11, 1));
  t.same(usedIn(budget), [3, 3]);
  await budget.close();
});

t.test('a clock that was ahead for some boots is believed again when it goes on for a day', async (t) => {
  const file = join(testdir(t), 'usage.json');
  const { clock, boot } = machine(Date.UTC(2031, 0, 1));
  let budget = new Budget(file, log, clock);
  send(budget, 500);
  await budget.close();
  boot(Date.UTC(2026, 10, 29, 8));
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [500, 500]);
  await budget.close();
  boot(Date.UTC(2026, 10, 30, 7));
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [500, 500]);
  await budget.close();
  boot(Date.UTC(2026, 10, 30, 9));
  budget = new Budget(file, log, clock);
  t.same(usedIn(budget), [0, 0]);
  await budget.close();
});

t.test('where the clock is set ahead or back, what is used goes with it', async (t) => {
  const { clock, set, pass } = machine(Date.UTC(2026, 10, 29, 12));
  const budget = new Budget(join(testdir(t), 'usage.json'), log, clock);
  send(budget, 500);
  t.same(usedIn(budget), [500, 500]);
  set(Date.UTC(2031, 0, 1));
  t.same(usedIn(budget), [500, 500]);
  send(budget, 7);
  pass(30 * HOUR);
  t.same(usedIn(budget), [0, 507], 'a day has gone by');
  send(budget, 1);
  set(Date.UTC(2026, 10, 30));
  t.same(usedIn(budget), [1, 508]);
  set(Date.UTC(2026, 10, 29));
  t.same(usedIn(budget), [1, 508]);
  set(Date.UTC(2026, 10, 31));
  t.same(usedIn(budget), [1, 508]);
  await budget.close();
});

t.test('a clock that is adjusted around midnight gives each day once', async (t) => {
  const { clock, set, pass } = machine(Date.UTC(2026, 10, 29, 23, 59));
  const budget = new Budget(join(testdir(t), 'usage.json'), log, clock);
  send(budget, 500);
  pass(120_000);
  t.same(usedIn(budget), [0, 500]);
  send(budget, 100);
  set(Date.UTC(2026, 10, 29, 23, 58));
  t.same(usedIn(budget), [500, 600]);
  pass(180_000);
  t.same(usedIn(budget), [100, 600]);
  await budget.close();
});

t.test('a queue that is killed forgets no more than 8 MiB, however fast it sends', async (t) => {
  const file = join(testdir(t), 'usage.json');
  const child = spawn(process.execPath, [new URL('fixtures/spend.ts', import.meta.url).pathname, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // It writes down how much may have left before that much leaves.
  let left = 0;
  child.stdout.on('data', (said: Buffer) => {
    left += said.length;
    if (left > 300) child.kill('SIGKILL');
  });
  await once(child, 'close');
  const budget = new Budget(file, log);
  const forgotten = left * 1024 * 1024 - budget.used('lte').day;
  t.ok(forgotten <= UNSAVED_MAX + 1024 * 1024, `${forgotten} bytes`);
  await budget.close();
});

t.test('a file that is damaged counts from nothing, and does not stop the queue', async (t) => {
  const file = join(testdir(t), 'usage.json');
  writeFileSync(file, '{"lte":');
  const budget = new Budget(file, log);
  t.same(budget.used('lte'), { day: 0, month: 0 });
  await budget.close();
});

t.test('what is no number of bytes in the file counts as 0, and what is no period is left out', async (t) => {
  const file = join(testdir(t), 'usage.json');
  const day = { '2026-11-29': '7', '2026-11-28': -1, '2026-11-27': 1e300, __proto__: 3, x: 3 };
  const clock = { trustedAt: 1e300, behindSince: 'x', last: { wall: -1 } };
  writeFileSync(file, JSON.stringify({ lte: { day, month: [], undated: null }, wifi: 7, clock }));
  const { clock: at } = machine(Date.UTC(2026, 10, 29));
  const budget = new Budget(file, log, at);
  t.same(usedIn(budget), [0, 0]);
  send(budget, 5);
  t.same(usedIn(budget), [5, 5]);
  await budget.close();
  const kept = JSON.parse(readFileSync(file, 'utf8'));
  t.same(kept.lte, {
    day: { '2026-11-27': 0, '2026-11-28': 0, '2026-11-29': 5 },
    month: { '2026-11': 5 },
    undated: 0,
  });
});
