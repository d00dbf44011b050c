// What the memory store keeps over a crash, and what it does when its disk fails: the faults that the simulation relies on.

import t, { type Test } from 'tap';
import { all, bodyOf, idsOf, newHead, put } from '../../src/store/conformance.ts';
import type { Store, StoreEvent } from '../../src/store/store.ts';
import { MemoryStore, type MemoryStoreOptions, randomFaults, type StoreFaults } from './memory-store.ts';
import { Simulation } from './scheduler.ts';

const simulated = async (
  seed: number,
  run: (simulation: Simulation) => Promise<unknown>,
): Promise<Simulation> => {
  const simulation = new Simulation({ seed });
  simulation.install();
  try {
    let done = false;
    void run(simulation).then(() => {
      done = true;
    });
    await simulation.run(() => done, { within: 3_600_000 });
  } finally {
    simulation.uninstall();
  }
  return simulation;
};

/** The disk takes 10 ms for everything. */
const storeIn = (simulation: Simulation, faults: StoreFaults, more: Partial<MemoryStoreOptions> = {}) =>
  new MemoryStore({ disk: (label) => simulation.delay(label, 10, 10), faults, ...more });

const scenario = (
  name: string,
  faults: StoreFaults,
  run: (test: Test, store: MemoryStore, simulation: Simulation) => Promise<void>,
): Promise<unknown> =>
  t.test(name, async (test) => {
    await simulated(1, (simulation) => run(test, storeIn(simulation, faults), simulation));
  });

const eventsOf = (store: Store): StoreEvent[] => {
  const events: StoreEvent[] = [];
  store.on('event', (event) => events.push(event));
  return events;
};

for (const keeps of [false, true]) {
  const fate = keeps ? 'kept' : 'lost';
  void scenario(
    `what has resolved outlives a crash, and what was under way may be ${fate}`,
    { keeps: () => keeps },
    async (test, store, simulation) => {
      const [first, second] = [await put(store, 'first'), await put(store, 'second')];
      await store.setProgress(first.id, { at: 1 });
      await store.delivered(second.id, '200');
      void store.dead(first.id, 'under way');
      setTimeout(() => void put(store, 'under way'), 20);
      await simulation.delay('until both are with the disk', 25, 25);
      const after = store.crash();
      await test.rejects(store.get(first.id), { code: 'LAYBY_STORE_CLOSED' });
      test.match(await after.get(first.id), { state: keeps ? 'dead' : 'stored' });
      test.equal((await bodyOf(after, first)).toString(), 'first');
      test.same(await after.progress(first.id), { at: 1 });
      test.equal(await after.get(second.id), undefined);
      test.equal((await idsOf(after.list())).length, keeps ? 2 : 1);
      test.equal((await put(after, 'next')).seq, keeps ? 4 : 3, 'numbers have no gaps');
      test.match(after.totals().get('dashcam'), { entries: 2, dead: keeps ? 1 : 0 });
      const trail = (await all(after.audit({ id: second.id }))).map(({ kind }) => kind);
      test.same(trail, ['stored', 'delivered']);
    },
  );
}

void scenario('a change that nobody has written is lost with the process', {}, async (test, store) => {
  const { id } = await put(store, 'x');
  await store.failed(id, 'one');
  void store.failed(id, 'two');
  await Promise.resolve();
  const after = store.crash();
  test.match(await after.get(id), { attempts: 1, lastError: 'one' });
});

void scenario(
  'a composed entry outlives a crash before the index knows it, and its group has left',
  {},
  async (test, store) => {
    const parts = [await put(store, 'one', { group: 'g' }), await put(store, 'two', { group: 'g' })];
    await store.failed('nobody', 'flush');
    const whole = await store.compose(
      newHead(),
      'g',
      parts.map(({ id }) => id),
    );
    const after = store.crash();
    test.same(await idsOf(after.list()), [whole.id]);
    test.equal((await bodyOf(after, whole)).toString(), 'onetwo');
    test.match(after.totals().get('dashcam'), { entries: 1, staged: 0 });
  },
);

void t.test('a commit that the disk did not take is refused, and its number is given again', async (test) => {
  let fails = true;
  const faults: StoreFaults = { writeFails: (label) => label === 'commit' && fails };
  await simulated(1, async (simulation) => {
    const store = storeIn(simulation, faults);
    const events = eventsOf(store);
    await test.rejects(put(store, 'x'), { code: 'LAYBY_STORE_FAILED' });
    test.same(events, []);
    fails = false;
    test.equal((await put(store, 'x')).seq, 1);
  });
});

void t.test('a change that the disk did not take stands all the same, and is tried again', async (test) => {
  let fails = false;
  await simulated(1, async (simulation) => {
    const store = storeIn(simulation, { writeFails: (label) => label === 'flush' && fails });
    const { id } = await put(store, 'x');
    fails = true;
    await test.rejects(store.dead(id, 'no'), { code: 'LAYBY_STORE_FAILED' });
    test.match(await store.get(id), { state: 'dead' });
    test.match(await store.crash().get(id), { state: 'stored' }, 'a crash undoes it');
    fails = false;
    const again = storeIn(simulation, { writeFails: (label) => label === 'flush' && fails });
    const other = await put(again, 'x');
    fails = true;
    await test.rejects(again.dead(other.id, 'no'), { code: 'LAYBY_STORE_FAILED' });
    fails = false;
    await simulation.delay('until it was tried again', 1100, 1100);
    test.match(await again.crash().get(other.id), { state: 'dead' });
  });
});

void t.test('a store that is full says so, and takes more when there is room', async (test) => {
  await simulated(1, async (simulation) => {
    const store = storeIn(simulation, {}, { quota: 10_000 });
    const { id } = await put(store, Buffer.alloc(8000));
    await test.rejects(put(store, Buffer.alloc(8000)), { code: 'LAYBY_STORE_FULL' });
    test.ok(store.lacking(8000) > 0);
    await store.delivered(id, '200');
    test.equal(await store.makeRoom(8000), 0);
    await put(store, Buffer.alloc(8000));
    let full = true;
    const other = storeIn(simulation, { full: (label) => label === 'write' && full });
    const writer = await other.begin(newHead());
    await test.rejects(async () => writer.write(Buffer.from('x')), { code: 'LAYBY_STORE_FULL' });
    await test.rejects(writer.commit(), { code: 'LAYBY_STORE_FULL' });
    full = false;
    await put(other, 'x');
  });
});

void t.test(
  'an entry whose record is damaged is quarantined where it is read, and no list of waiting ones has it',
  async (test) => {
    await simulated(1, async (simulation) => {
      const damaged = new Set<string>();
      const store = storeIn(simulation, { recordDamaged: (id) => damaged.has(id) });
      const events = eventsOf(store);
      const [first, second] = [await put(store, 'first'), await put(store, 'second')];
      damaged.add(first.id);
      test.same(await idsOf(store.list({ state: 'stored' })), [second.id]);
      test.match(events.at(-1), { kind: 'quarantined', id: first.id });
      test.match(store.report.damage, [{ id: first.id, seq: 1 }]);
      test.match(await all(store.list()), [
        { id: first.id, state: 'quarantined', url: '' },
        { id: second.id },
      ]);
      test.match(store.totals().get('dashcam'), { entries: 1, quarantined: 1, oldest: { id: second.id } });
      await test.rejects(bodyOf(store, first), { code: 'LAYBY_ENTRY_DAMAGED' });
      test.same(await idsOf(store.waitingFor('dashcam', first.url)), [second.id]);
    });
  },
);

void t.test('a body that is damaged ends before the first wrong byte', async (test) => {
  await simulated(1, async (simulation) => {
    let at: number | undefined = 300_000;
    const store = storeIn(simulation, { bodyDamaged: () => at });
    const entry = await put(store, Buffer.alloc(600_000));
    let read = 0;
    await test.rejects(
      async () => {
        for await (const piece of store.read(entry)) read += piece.length;
      },
      { code: 'LAYBY_ENTRY_DAMAGED' },
    );
    test.ok(read > 0 && read <= 300_000, `${read} bytes`);
    at = undefined;
    test.match(await store.get(entry.id), { state: 'quarantined' });
  });
});

void t.test('an entry that is in flight is shown as being sent, and no rule takes it', async (test) => {
  await simulated(1, async (simulation) => {
    const inFlight = new Set<string>();
    const store = storeIn(simulation, {}, { isInFlight: (id) => inFlight.has(id) });
    const [first, second] = [await put(store, 'x', { ttl: 1 }), await put(store, 'y', { ttl: 1 })];
    inFlight.add(first.id);
    await store.failed(second.id, 'reset');
    test.match(await store.get(first.id), { state: 'sending' });
    test.same(await idsOf(store.list({ state: 'stored' })), [second.id]);
    test.equal(await store.drop(first.id, 'expired', 'ttl'), false);
    test.same(
      (await all(store.expired())).map(({ id }) => id),
      [second.id],
    );
    test.same(
      (await all(store.evictable(9))).map(({ id }) => id),
      [second.id],
    );
    inFlight.clear();
    test.equal(await store.drop(first.id, 'expired', 'ttl'), true);
  });
});

/** The seq of each entry. A list that finds a damaged entry fails where that cannot be written down. */
const seqsOf = async (store: Store): Promise<Map<string, number>> => {
  try {
    return new Map((await all(store.list())).map(({ id, seq }) => [id, seq]));
  } catch (error) {
    if ((error as { code?: string }).code === 'LAYBY_STORE_FAILED') return seqsOf(store);
    throw error;
  }
};

/** Entries come, are tried, die, and leave, while the disk fails and the process crashes. */
const storm = async (simulation: Simulation): Promise<void> => {
  const faults = randomFaults(simulation.fork('faults'), {
    writeFails: 0.05,
    full: 0.02,
    recordDamaged: 0.002,
  });
  let store = storeIn(simulation, faults, { disk: (label) => simulation.delay(label, 0.05, 20) });
  const receipts = new Map<string, number>();
  const left = new Set<string>();
  for (let life = 0; life < 5; life++) {
    const now = store;
    const work = async (name: number): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        const id = `${life}-${name}-${i}`;
        try {
          const { seq } = await put(now, Buffer.alloc(simulation.between(0, 5000)), { id });
          receipts.set(id, seq);
          simulation.note(`receipt ${seq}`);
          if (simulation.fault(0.5)) await now.failed(id, 'no');
          if (simulation.fault(0.2)) await now.dead(id, 'dead');
          left.add(id); // from here it may be either
          if (simulation.fault(0.5)) await now.delivered(id, '200');
          else left.delete(id);
        } catch (error) {
          simulation.note(String((error as { code?: string }).code));
        }
      }
    };
    for (let name = 0; name < 4; name++) void work(name);
    await simulation.delay('life', 200, 1500);
    store = store.crash();
    const found = await seqsOf(store);
    const seqs = [...found.values()];
    if (seqs.some((seq, i) => i > 0 && seq <= seqs[i - 1]!)) simulation.fail('not in order');
    for (const [id, seq] of receipts)
      if (!left.has(id) && found.get(id) !== seq) simulation.fail(`${id} (${seq}) vanished`);
    const { entries = 0, dead = 0, quarantined = 0 } = store.totals().get('dashcam') ?? {};
    if (entries + dead + quarantined !== found.size) simulation.fail('the totals are wrong');
  }
};

void t.test('no receipt is lost over crashes and faults, and a seed repeats all of it', async (test) => {
  for (let seed = 1; seed <= 8; seed++) {
    const [one, again] = [await simulated(seed, storm), await simulated(seed, storm)];
    test.equal(one.trace.digest, again.trace.digest, `seed ${seed}`);
  }
});
