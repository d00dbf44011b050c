// A composed entry on LevelDB: whatever of it a crash, a loss of the index or a reclaimed generation leaves, the opening makes
// either the staged parts or the whole of it.

import { randomBytes } from 'node:crypto';
import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { all, bodyOf, newHead, put } from '../../src/store/conformance.ts';
import { checkStore } from '../../src/store/leveldb/check.ts';
import { openStore, type StoreOptions } from '../../src/store/leveldb/open.ts';
import type { Entry, Store } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

const stage = async (store: Store, bodies: Buffer[]): Promise<string[]> => {
  const ids: string[] = [];
  for (const body of bodies) ids.push((await put(store, body, { group: 'g' })).id);
  return ids;
};

const BODIES = [randomBytes(400_000), randomBytes(300_000), randomBytes(100)];
const WHOLE = Buffer.concat(BODIES);

const isWhole = async (t: Test, dir: string, whole: Entry, options: StoreOptions = {}): Promise<Store> => {
  const store = await openStore(dir, options);
  t.same(
    (await all(store.list())).map(({ id, state }) => [id, state]),
    [[whole.id, 'stored']],
    'the whole, and none of its parts',
  );
  t.ok((await bodyOf(store, whole)).equals(WHOLE));
  t.match(store.totals().get('dashcam'), { entries: 1, bytes: WHOLE.length, staged: 0 });
  return store;
};

for (const key of [undefined, randomBytes(32)])
  t.test(`a crash before the index knows of it${key ? ', encrypted' : ''}`, async (t) => {
    const dir = testdir(t);
    const live = join(dir, 'live');
    const options = key ? { key } : {};
    const before = await openStore(live, options);
    const ids = await stage(before, BODIES);
    await before.close();
    const store = await openStore(live, options);
    await cp(live, join(dir, 'crashed'), { recursive: true });
    const whole = await store.compose(newHead(), 'g', ids);
    // What a crash leaves: the batch is on the disk, of the index what was there before.
    await rm(join(dir, 'crashed', 'generations'), { recursive: true });
    await cp(join(live, 'generations'), join(dir, 'crashed', 'generations'), { recursive: true });
    await store.close();
    const again = await isWhole(t, join(dir, 'crashed'), whole, options);
    t.same(again.report.damage, []);
    await again.close();
    await (await isWhole(t, join(dir, 'crashed'), whole, options)).close();
    t.match(await checkStore(join(dir, 'crashed'), options), { entries: 1, problems: [] });
  });

t.test('a crash before any index knows even the parts', async (t) => {
  const dir = testdir(t);
  const live = join(dir, 'live');
  const store = await openStore(live);
  await cp(live, join(dir, 'crashed'), { recursive: true });
  const whole = await store.compose(newHead(), 'g', await stage(store, BODIES));
  await rm(join(dir, 'crashed', 'generations'), { recursive: true });
  await cp(join(live, 'generations'), join(dir, 'crashed', 'generations'), { recursive: true });
  await store.close();
  const again = await isWhole(t, join(dir, 'crashed'), whole);
  t.same(again.report.damage, []);
  await again.close();
});

t.test(
  'an index that is lost is built anew with the whole, and with parts that wait for their end',
  async (t) => {
    const dir = join(testdir(t), 'store');
    await mkdir(dir, { recursive: true });
    const store = await openStore(dir);
    const whole = await store.compose(newHead(), 'g', await stage(store, BODIES));
    await store.close();
    await rm(join(dir, 'index'), { recursive: true });
    const again = await isWhole(t, dir, whole);
    const [id] = await stage(again, [BODIES[0]!]);
    await again.close();
    await rm(join(dir, 'index'), { recursive: true });
    const third = await openStore(dir);
    t.same(
      (await all(third.staged('dashcam', 'g'))).map((entry) => entry.id),
      [id],
    );
    await third.close();
  },
);

t.test('while generations are reclaimed, parts and whole stay', async (t) => {
  const generationBytes = 1024 * 1024;
  const store = await openStore(join(testdir(t), 'store'), { generationBytes });
  const drain = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const { id } = await put(store, randomBytes(300_000));
      await store.delivered(id, '200');
    }
  };
  const ids: string[] = [];
  for (const body of BODIES) {
    ids.push(...(await stage(store, [body])));
    await drain(8);
  }
  await store.makeRoom(Number.MAX_SAFE_INTEGER); // moves what it can
  const whole = await store.compose(newHead(), 'g', ids);
  await drain(8);
  await store.makeRoom(Number.MAX_SAFE_INTEGER);
  t.ok((await bodyOf(store, whole)).equals(WHOLE));
  await store.delivered(whole.id, '200');
  await drain(8);
  t.ok((await store.physicalBytes()) < 8 * generationBytes, 'and give their room back');
  await store.close();
});

t.test('a part that moves while it is composed is not lost', async (t) => {
  const store = await openStore(join(testdir(t), 'store'), { generationBytes: 512 * 1024 });
  for (let round = 0; round < 10; round++) {
    const ids = await stage(store, BODIES);
    const { id } = await put(store, randomBytes(600_000));
    await store.delivered(id, '200');
    const [whole] = await Promise.all([
      store.compose(newHead(), 'g', ids),
      store.makeRoom(Number.MAX_SAFE_INTEGER),
    ]);
    await store.makeRoom(Number.MAX_SAFE_INTEGER);
    t.ok((await bodyOf(store, whole)).equals(WHOLE));
    await store.delivered(whole.id, '200');
  }
  await store.close();
});
