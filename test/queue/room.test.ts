// Law 8 at the queue: quotas of destinations and of the store, and what may be evicted for whom.

import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { CLASSES, type Class, type Destination } from '../../src/policy/policy.ts';
import { Room } from '../../src/queue/room.ts';
import { all, bodyOf, newHead, put, sha256 } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry, Store, StoreEvent } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

const MiB = 1024 * 1024;

const destination = (
  name: string,
  { class: className = 'normal' as Class, quota = 0, whenFull = 'refuse' as 'refuse' | 'evict' } = {},
): Destination => ({
  name,
  hosts: [`${name}.example`],
  upstream: { url: `https://${name}.example` },
  store: {
    mode: 'failover',
    methods: ['PUT'],
    receipt: 'redirect',
    order: 'key',
    class: className,
    reads: 'stored',
    listings: 'unavailable',
    unknown: 'unavailable',
    whenFull,
    ...(quota > 0 && { quota }),
  },
  replay: { concurrency: 4, resume: 'none', retry: { max: 1000 } },
});

const arrive = async (
  room: Room,
  to: Destination,
  bytes: number,
  { declared = true }: { declared?: boolean } = {},
): Promise<Entry> => {
  const head = newHead({ destination: to.name, class: CLASSES.indexOf(to.store.class) });
  const writer = await room.begin(to, head, declared ? bytes : undefined);
  for (let left = bytes; left > 0; left -= 65_536) await writer.write(randomBytes(Math.min(left, 65_536)));
  return writer.commit();
};

const withStore = async (
  t: Test,
  quota: number | undefined,
  run: (store: Store, room: Room, evicted: StoreEvent[], inFlight: Set<string>) => Promise<void>,
) => {
  const inFlight = new Set<string>();
  const store = await openStore(testdir(t), { quota, isInFlight: (id) => inFlight.has(id) });
  const evicted: StoreEvent[] = [];
  store.on('event', (event) => {
    if (event.kind === 'evicted') evicted.push(event);
  });
  try {
    await run(store, new Room(store), evicted, inFlight);
  } finally {
    await store.close();
  }
};

t.test('a destination at its quota is refused before a byte is taken, others are not', async (t) =>
  withStore(t, undefined, async (store, room) => {
    const small = destination('small', { quota: 3 * MiB });
    const other = destination('other');
    await arrive(room, small, 2 * MiB);
    await t.rejects(room.begin(small, newHead({ destination: 'small' }), 2 * MiB), {
      code: 'LAYBY_STORE_FULL',
      message: /quota of small is 3145728 bytes/,
      remedy: /quota/,
    });
    await arrive(room, other, 4 * MiB);
    t.ok((await arrive(room, small, MiB - 10_000)).id);
    const [first] = await all(store.list({ destination: 'small' }));
    await store.dead(first!.id, '400');
    await t.rejects(arrive(room, small, MiB), { code: 'LAYBY_STORE_FULL' }, 'dead letters count');
    await store.drop(first!.id, 'dropped', 'by hand');
    t.ok((await arrive(room, small, MiB)).id, 'what has left does not');
  }),
);

t.test('what is on its way in counts, and counts no more when it is given up', async (t) =>
  withStore(t, undefined, async (store, room) => {
    const to = destination('d', { quota: 3 * MiB });
    const first = await room.begin(to, newHead({ destination: 'd' }), 2 * MiB);
    await t.rejects(arrive(room, to, 2 * MiB), { code: 'LAYBY_STORE_FULL' });
    await first.abort();
    await first.abort();
    t.equal((await arrive(room, to, 2 * MiB)).bytes, 2 * MiB);
    t.equal(store.totals().get('d')!.entries, 1);
  }),
);

t.test('a body of unknown length is refused as it grows, and leaves nothing', async (t) =>
  withStore(t, undefined, async (store, room) => {
    const to = destination('d', { quota: MiB });
    await t.rejects(arrive(room, to, 2 * MiB, { declared: false }), { code: 'LAYBY_STORE_FULL' });
    t.equal(store.totals().get('d')?.entries ?? 0, 0);
    t.ok((await arrive(room, to, MiB - 10_000, { declared: false })).id, 'its bytes are free again');
  }),
);

t.test(
  'a full store evicts the lowest class first, of one class the oldest first, and frees the disk',
  async (t) =>
    withStore(t, 32 * MiB, async (store, room, evicted) => {
      const bulk = destination('bulk', { class: 'bulk' });
      const normal = destination('normal', { class: 'normal' });
      const evidence = destination('evidence', { class: 'evidence', whenFull: 'evict' });
      const order: string[] = [];
      for (let i = 0; i < 8; i++) order.push((await arrive(room, i % 2 ? bulk : normal, 2 * MiB)).id);
      const bulkIds = order.filter((_, i) => i % 2 === 1);
      const normalIds = order.filter((_, i) => i % 2 === 0);
      const kept: Entry[] = [];
      let refused = 0;
      for (let i = 0; i < 36; i++) {
        await arrive(room, evidence, MiB, { declared: i % 2 === 0 }).then(
          (entry) => kept.push(entry),
          (error) => {
            t.equal(error.code, 'LAYBY_STORE_FULL');
            refused += 1;
          },
        );
        t.ok((await store.physicalBytes()) < 40 * MiB);
      }
      t.same(
        evicted.map(({ id }) => id),
        [...bulkIds, ...normalIds],
        'bulk first, then normal, each the oldest first',
      );
      t.match(evicted[0], { kind: 'evicted', detail: /store is full; evidence may evict .*lower class/ });
      t.ok(kept.length >= 20 && refused > 0, `${kept.length} kept, ${refused} refused when none was left`);
      for (const entry of kept) t.equal(sha256(await bodyOf(store, entry)), entry.sha256);
      t.match(store.totals().get('bulk'), { entries: 0, held: 0 });
    }),
);

t.test('nothing of an equal or a higher class goes, nor what is being sent', async (t) =>
  withStore(t, 16 * MiB, async (_store, room, evicted, inFlight) => {
    const bulk = destination('bulk', { class: 'bulk', whenFull: 'evict' });
    const urgent = destination('urgent', { class: 'urgent', whenFull: 'evict' });
    const sent = await arrive(room, bulk, 5 * MiB);
    inFlight.add(sent.id);
    await arrive(room, urgent, 5 * MiB);
    await t.rejects(arrive(room, urgent, 8 * MiB), { code: 'LAYBY_STORE_FULL' });
    await t.rejects(arrive(room, bulk, 8 * MiB), { code: 'LAYBY_STORE_FULL' });
    t.same(evicted, []);
    inFlight.delete(sent.id);
    await t.rejects(arrive(room, bulk, 8 * MiB), { code: 'LAYBY_STORE_FULL' });
    t.ok((await arrive(room, urgent, 8 * MiB)).id);
    t.same(
      evicted.map(({ id }) => id),
      [sent.id],
    );
  }),
);

t.test('with refuse nothing is evicted for it, whatever its class', async (t) =>
  withStore(t, 12 * MiB, async (_store, room, evicted) => {
    await arrive(room, destination('bulk', { class: 'bulk' }), 6 * MiB);
    await t.rejects(arrive(room, destination('evidence', { class: 'evidence' }), 8 * MiB), {
      code: 'LAYBY_STORE_FULL',
    });
    t.same(evicted, []);
  }),
);

t.test(
  'a quota with evict takes only its own entries of a lower class, and refuses without them',
  async (t) =>
    withStore(t, undefined, async (_store, room, evicted) => {
      const before = destination('d', { class: 'bulk', quota: 3 * MiB, whenFull: 'evict' });
      const now = destination('d', { class: 'normal', quota: 3 * MiB, whenFull: 'evict' });
      await arrive(room, destination('other', { class: 'bulk' }), 2 * MiB);
      const old = await arrive(room, before, 2 * MiB);
      await t.rejects(arrive(room, before, 2 * MiB), { code: 'LAYBY_STORE_FULL' });
      await arrive(room, now, 2 * MiB);
      t.match(evicted, [{ id: old.id, detail: /quota of d is full/ }]);
      await t.rejects(arrive(room, now, 2 * MiB), { code: 'LAYBY_STORE_FULL' });
      t.equal(evicted.length, 1);
    }),
);

t.test('dead letters of a lower class go too, in their turn', async (t) =>
  withStore(t, 16 * MiB, async (store, room, evicted) => {
    const bulk = destination('bulk', { class: 'bulk' });
    const ids = [await arrive(room, bulk, 4 * MiB), await arrive(room, bulk, 4 * MiB)].map(({ id }) => id);
    await store.dead(ids[0]!, '400');
    await arrive(room, destination('e', { class: 'evidence', whenFull: 'evict' }), 9 * MiB);
    t.equal(evicted[0]?.id, ids[0]);
  }),
);

t.test('many arrivals at once evict for each of them once', async (t) =>
  withStore(t, 32 * MiB, async (store, room, evicted) => {
    const bulk = destination('bulk', { class: 'bulk' });
    const evidence = destination('evidence', { class: 'evidence', whenFull: 'evict' });
    for (let i = 0; i < 100; i++) await arrive(room, bulk, 256 * 1024);
    const kept = await Promise.all(Array.from({ length: 12 }, () => arrive(room, evidence, MiB)));
    t.equal(kept.length, 12);
    const left = store.totals().get('bulk')!.entries;
    t.equal(left + evicted.length, 100);
    t.ok(left >= 24, `${left} of 100 are left`);
  }),
);

t.test(
  'an arrival whose client hangs up waits for no eviction, evicts nothing more and reserves nothing',
  async (t) =>
    withStore(t, 16 * MiB, async (store, room, evicted) => {
      const bulk = destination('bulk', { class: 'bulk' });
      const evidence = destination('evidence', { class: 'evidence', whenFull: 'evict' });
      for (let i = 0; i < 12; i++) await arrive(room, bulk, MiB);
      const first = Promise.withResolvers<void>();
      const free = Promise.withResolvers<number>();
      const { makeRoom } = store;
      store.makeRoom = () => {
        first.resolve();
        return free.promise;
      };
      const begin = (signal?: AbortSignal) =>
        room.begin(evidence, newHead({ destination: 'evidence', class: 3 }), 8 * MiB, signal && { signal });
      const evicting = new AbortController();
      const waiting = new AbortController();
      const [one, two] = [begin(evicting.signal), begin(waiting.signal)];
      await first.promise;
      waiting.abort(new Error('hung up'));
      await t.rejects(two, { message: 'hung up' }, 'while it waits for its turn');
      evicting.abort(new Error('hung up too'));
      free.resolve(MiB);
      await t.rejects(one, { message: 'hung up too' }, 'while it evicts');
      t.same(evicted, []);
      store.makeRoom = makeRoom;
      const asked: number[] = [];
      const { lacking } = store;
      store.lacking = (more) => {
        asked.push(more);
        return lacking.call(store, more);
      };
      await (await begin()).abort();
      t.equal(asked[0], 8 * MiB, 'nothing else is let in');
      t.ok(evicted.length > 0);
    }),
);

t.test('survivors among the evicted are moved, whole', async (t) =>
  withStore(t, 32 * MiB, async (store, room, evicted) => {
    const bulk = destination('bulk', { class: 'bulk' });
    const evidence = destination('evidence', { class: 'evidence', whenFull: 'evict' });
    const kept: Entry[] = [];
    for (let i = 0; i < 60; i++) {
      const entry = await arrive(room, i % 3 === 0 ? evidence : bulk, 400_000);
      if (i % 3 === 0) kept.push(entry);
    }
    for (let i = 0; i < 20; i++) kept.push(await arrive(room, evidence, 600_000));
    t.ok(evicted.length > 0, `${evicted.length} evicted`);
    for (const entry of kept) t.equal(sha256(await bodyOf(store, entry)), entry.sha256);
    t.ok((await put(store, 'goes on')).seq);
  }),
);
