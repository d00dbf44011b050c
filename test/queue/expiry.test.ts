// Times to live: what is overdue goes, by the store's own time, whatever the wall clock says and however often the machine boots.

import t, { type Test } from 'tap';
import { Expiry } from '../../src/queue/expiry.ts';
import { all, newHead, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Store } from '../../src/store/store.ts';
import { logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';

const MINUTE = 60_000;
const YEAR = 365 * 24 * 60 * MINUTE;
const log = logger('test');
log.level = 'silent';

/** The machine's clocks, in the hands of the test. */
const machine = () => {
  let bootId = 'boot-1';
  let uptime = 5 * MINUTE;
  let wall = 1_790_000_000_000;
  return {
    clock: {
      get bootId() {
        return bootId;
      },
      uptime: () => uptime,
      wall: () => wall,
    },
    pass: (ms: number) => {
      uptime += ms;
      wall += ms;
    },
    jump: (ms: number) => {
      wall += ms;
    },
    reboot: (id: string, up: number) => {
      bootId = id;
      uptime = up;
    },
  };
};

const withStore = async (t: Test, run: (use: Awaited<ReturnType<typeof opened>>) => Promise<void>) => {
  const use = await opened(testdir(t));
  await run(use);
  await use.store.close();
};

const opened = async (dir: string) => {
  const here = machine();
  const inFlight = new Set<string>();
  const open = () => openStore(dir, { bootClock: here.clock, isInFlight: (id) => inFlight.has(id) });
  const use = {
    ...here,
    inFlight,
    store: await open(),
    sweep: () => new Expiry(use.store, log).sweep(),
    reopen: async () => {
      await use.store.close();
      use.store = await open();
    },
  };
  return use;
};

const ids = async (store: Store) => (await all(store.list())).map(({ id }) => id);
/** What was put a moment ago is not in the index on the disk yet: a change that is waited for brings all of it there. */
const flush = async (store: Store) => void (await store.failed((await ids(store))[0]!, 'flush'));

t.test('an entry goes when its time to live is over, and its rule is in the trail', async (t) =>
  withStore(t, async (use) => {
    const short = await put(use.store, 'short', { ttl: 15 * MINUTE });
    const long = await put(use.store, 'long', { ttl: 2 * 60 * MINUTE });
    const ever = await put(use.store, 'ever');
    await flush(use.store);
    use.pass(15 * MINUTE - 1);
    t.equal(await use.sweep(), 0);
    t.equal(use.store.age(short), 15 * MINUTE - 1);
    use.pass(1);
    t.equal(await use.sweep(), 1);
    t.same(await ids(use.store), [long.id, ever.id]);
    t.match((await all(use.store.audit({ id: short.id }))).at(-1), {
      kind: 'expired',
      detail: 'its time to live of 15m is over',
    });
    use.pass(YEAR);
    t.equal(await use.sweep(), 1);
    t.same(await ids(use.store), [ever.id]);
  }),
);

t.test('a wall clock that jumps by years, either way, makes nothing older or younger', async (t) =>
  withStore(t, async (use) => {
    const entry = await put(use.store, 'x', { ttl: 15 * MINUTE });
    await flush(use.store);
    for (const years of [50, -100, 57]) {
      use.jump(years * YEAR);
      t.equal(await use.sweep(), 0);
      t.equal(use.store.age(entry), 0);
      await use.reopen();
      t.equal(await use.sweep(), 0);
      t.equal(use.store.age(entry), 0);
    }
    use.pass(15 * MINUTE);
    t.equal(await use.sweep(), 1);
  }),
);

t.test('time goes on over a restart of the program within one boot', async (t) =>
  withStore(t, async (use) => {
    const entry = await put(use.store, 'x', { ttl: 15 * MINUTE });
    use.pass(MINUTE);
    await use.store.close();
    use.pass(10 * MINUTE);
    use.store = await openStore(t.testdirName, { bootClock: use.clock });
    t.equal(use.store.age(entry), 11 * MINUTE);
    use.pass(4 * MINUTE);
    t.equal(await use.sweep(), 1);
  }),
);

t.test('over a reboot the time counts that the machine was on, and not the time that it was off', async (t) =>
  withStore(t, async (use) => {
    const entry = await put(use.store, 'x', { ttl: 15 * MINUTE });
    use.pass(6 * MINUTE);
    await use.store.close(); // and the machine is switched off, for a year
    use.jump(YEAR);
    use.reboot('boot-2', 2 * MINUTE);
    use.store = await openStore(t.testdirName, { bootClock: use.clock });
    t.equal(use.store.age(entry), 8 * MINUTE);
    const later = await put(use.store, 'y', { ttl: 15 * MINUTE });
    await flush(use.store);
    use.pass(7 * MINUTE);
    t.equal(await use.sweep(), 1);
    t.same(await ids(use.store), [later.id]);
    for (let boot = 3; boot < 11; boot++) {
      await use.store.close();
      use.reboot(`boot-${boot}`, 1000);
      use.store = await openStore(t.testdirName, { bootClock: use.clock });
    }
    t.equal(use.store.age(later), 7 * MINUTE + 8000);
    use.pass(8 * MINUTE - 8001);
    t.equal(await use.sweep(), 0);
    use.pass(1);
    t.equal(await use.sweep(), 1);
  }),
);

t.test('where no boot id is known, a restart adds nothing', async (t) =>
  withStore(t, async (use) => {
    use.reboot('', 5 * MINUTE);
    await use.reopen();
    const entry = await put(use.store, 'x', { ttl: 15 * MINUTE });
    use.pass(MINUTE);
    await use.store.close();
    use.pass(YEAR);
    use.store = await openStore(t.testdirName, { bootClock: use.clock });
    t.equal(use.store.age(entry), MINUTE);
  }),
);

t.test('a power cut that takes the index keeps the time that the entries know', async (t) =>
  withStore(t, async (use) => {
    use.pass(YEAR);
    const old = await put(use.store, 'x', { ttl: 15 * MINUTE });
    use.pass(5 * MINUTE);
    await put(use.store, 'y');
    await use.store.close();
    const { rm } = await import('node:fs/promises');
    await rm(`${t.testdirName}/index`, { recursive: true });
    use.reboot('boot-2', MINUTE);
    use.store = await openStore(t.testdirName, { bootClock: use.clock });
    t.equal(use.store.age(old), 6 * MINUTE);
    use.pass(9 * MINUTE);
    t.equal(await use.sweep(), 1);
  }),
);

t.test('an entry that is being sent stays, and goes when its try has failed', async (t) =>
  withStore(t, async (use) => {
    const { id } = await put(use.store, 'x', { ttl: 15 * MINUTE });
    await flush(use.store);
    use.inFlight.add(id);
    use.pass(YEAR);
    t.equal(await use.sweep(), 0);
    t.equal(await use.store.drop(id, 'expired', 'by force'), false);
    t.equal((await use.store.get(id))?.state, 'sending');
    use.inFlight.delete(id);
    await use.store.failed(id, 'no link');
    t.equal(await use.sweep(), 1);
  }),
);

t.test('a dead letter stays until an operator has seen it, and a retried one begins anew', async (t) =>
  withStore(t, async (use) => {
    const { id } = await put(use.store, 'x', { ttl: 15 * MINUTE });
    await use.store.dead(id, '400');
    use.pass(YEAR);
    t.equal(await use.sweep(), 0);
    await use.store.retry(id);
    t.equal(await use.sweep(), 0);
    await use.reopen();
    use.pass(15 * MINUTE);
    t.equal(await use.sweep(), 1);
  }),
);

t.test('a shorter time to live behind a longer one is found, in any lane', async (t) =>
  withStore(t, async (use) => {
    const kept: string[] = [];
    for (let i = 0; i < 200; i++) {
      const ttl = (i % 4 === 0 ? 10 : 90) * MINUTE;
      const { id } = await put(use.store, `${i}`, { destination: `d${i % 3}`, ttl });
      if (i % 4 !== 0) kept.push(id);
    }
    await flush(use.store);
    use.pass(10 * MINUTE);
    t.equal(await use.sweep(), 50);
    t.same(await ids(use.store), kept);
    t.equal(await use.sweep(), 0);
  }),
);

t.test('the store keeps its time on the disk while nothing happens', async (t) =>
  withStore(t, async (use) => {
    const entry = await put(use.store, 'x', { ttl: YEAR });
    await flush(use.store);
    use.pass(2 * MINUTE);
    await use.sweep(); // notices that the time on the disk is old
    await flush(use.store);
    use.pass(1000);
    const { cp } = await import('node:fs/promises');
    const copy = `${t.testdirName}-copy`;
    await cp(t.testdirName, copy, { recursive: true }); // what a power cut leaves
    const machine = { bootId: 'boot-2', uptime: () => 0, wall: () => 0 };
    const after = await openStore(copy, { bootClock: machine });
    t.equal(after.age(entry), 2 * MINUTE);
    await after.close();
    const { rm } = await import('node:fs/promises');
    await rm(copy, { recursive: true });
  }),
);

t.test('a store of format 1 is opened; its entries age from now on', async (t) => {
  const dir = testdir(t);
  const here = machine();
  const before = await openStore(dir, { bootClock: here.clock });
  const { writeFile, readFile } = await import('node:fs/promises');
  await before.close();
  await writeFile(`${dir}/format.json`, '{"version":1}');
  const store = await openStore(dir, { bootClock: here.clock });
  t.match(JSON.parse(await readFile(`${dir}/format.json`, 'utf8')), { version: 3 });
  t.equal(store.age({ ...newHead(), committed: { bootId: 'x', uptime: 1 } } as never), 0);
  await store.close();
});
