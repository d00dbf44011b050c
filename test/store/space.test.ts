// Law 8 at the store: the quota and the reserve are kept, refusals lose nothing, and a disk that is full all the same does
// not stop the store for good.

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { stat, statfs, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { all, bodyOf, newHead, put, sha256 } from '../../src/store/conformance.ts';
import { BALLAST_BYTES } from '../../src/store/leveldb/ballast.ts';
import { EntryIndex } from '../../src/store/leveldb/entry-index.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry, Store } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

t.test('a body that would pass the quota is refused before a byte is taken', async (t) => {
  const store = await openStore(testdir(t), { quota: 4_000_000 });
  await t.rejects(store.begin(newHead(), 5_000_000), { code: 'LAYBY_STORE_FULL', remedy: /quota/ });
  const first = await store.begin(newHead(), 2_500_000);
  await t.rejects(store.begin(newHead(), 2_500_000), { code: 'LAYBY_STORE_FULL' }, 'what is expected counts');
  await first.abort();
  const second = await store.begin(newHead(), 2_500_000);
  await second.write(randomBytes(2_500_000));
  const entry = await second.commit();
  t.equal(sha256(await bodyOf(store, entry)), entry.sha256);
  await store.close();
});

t.test('a body of unknown length is refused as it goes, and leaves nothing', async (t) => {
  const store = await openStore(testdir(t), { quota: 4_000_000 });
  const writer = await store.begin(newHead());
  await t.rejects(
    async () => {
      for (;;) await writer.write(randomBytes(100_000));
    },
    { code: 'LAYBY_STORE_FULL' },
  );
  t.ok(writer.bytes < 4_100_000);
  await t.rejects(writer.commit(), { code: 'LAYBY_STORE_FULL' });
  await store.close();
});

t.test('a store at its quota takes more as soon as entries have left', async (t) => {
  const store = await openStore(testdir(t), { quota: 4_000_000 });
  for (let round = 0; round < 4; round++) {
    const entry = await put(store, randomBytes(3_000_000));
    await t.rejects(store.begin(newHead(), 3_000_000), { code: 'LAYBY_STORE_FULL' });
    await store.delivered(entry.id, 'ok');
  }
  t.ok((await store.physicalBytes()) < 4_500_000);
  await store.close();
});

t.test('the reserve of the disk is left alone', async (t) => {
  const dir = testdir(t);
  const { bavail, bsize } = await statfs(dir);
  const store = await openStore(dir, { reserve: bavail * bsize * 2 });
  await t.rejects(store.begin(newHead(), 1), { code: 'LAYBY_STORE_FULL', remedy: /disk/ });
  await store.close();
});

const mount = (dir: string, mib: number): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', dir]).status === 0;

const probe = testdir(t, { probe: {} });
const canMount = mount(join(probe, 'probe'), 1);
if (canMount) spawnSync('umount', [join(probe, 'probe')]);

t.test(
  'what the store has thrown overboard is kept from new bodies until it is there again (tmpfs)',
  { skip: canMount ? false : 'mounting a tmpfs needs root' },
  async (t) => {
    const dir = join(testdir(t, { overboard: {} }), 'overboard');
    mount(dir, 160);
    try {
      const store = await openStore(join(dir, 'store'), { reserve: 0, quota: 10 ** 12 });
      await put(store, randomBytes(1000));
      await store.close();
      t.equal((await stat(join(dir, 'store/ballast'))).size, BALLAST_BYTES);
      const other = join(dir, 'other');
      const { bavail, bsize } = await statfs(dir);
      await writeFile(other, Buffer.alloc(bavail * bsize - 1024 * 1024));
      // Opening needs the room, and takes little of it.
      const full = await openStore(join(dir, 'store'), { reserve: 0, quota: 10 ** 12 });
      await t.rejects(stat(join(dir, 'store/ballast')), { code: 'ENOENT' });
      await t.rejects(full.begin(newHead(), 2_000_000), { code: 'LAYBY_STORE_FULL', remedy: /disk/ });
      t.equal((await all(full.list())).length, 1);
      await full.close();
      await unlink(other);
      const roomy = await openStore(join(dir, 'store'), { reserve: 0, quota: 10 ** 12 });
      await put(roomy, randomBytes(2_000_000));
      await roomy.close();
    } finally {
      spawnSync('umount', ['-l', dir]);
    }
  },
);

t.test(
  'on a full disk writers are told, what has a receipt is there, and storing goes on when there is room (tmpfs)',
  { skip: canMount ? false : 'mounting a tmpfs needs root' },
  async (t) => {
    const dir = join(testdir(t, { disk: {} }), 'disk');
    mount(dir, 64);
    try {
      const ballast = join(dir, 'ballast');
      await writeFile(ballast, Buffer.alloc(48 * 1024 * 1024));
      const store = await openStore(join(dir, 'store'), { reserve: 0, quota: 10 ** 12 });
      const kept: Entry[] = [];
      const refused: string[] = [];
      for (let i = 0; i < 40; i++)
        await put(store, randomBytes(700_000)).then(
          (entry) => kept.push(entry),
          (cause) => refused.push(cause.code),
        );
      t.ok(kept.length > 3 && refused.length > 3, `${kept.length} kept, ${refused.length} refused`);
      t.same(
        [...new Set(refused)].filter((code) => !/^LAYBY_STORE_(FULL|FAILED)$/.test(code)),
        [],
      );
      for (const entry of kept) t.equal(sha256(await bodyOf(store, entry)), entry.sha256, 'read while full');

      await truncate(ballast);
      await unlink(ballast);
      for (let tries = 0; ; tries++) {
        const entry = await put(store, randomBytes(700_000)).catch((cause) => {
          if (tries > 1000) throw cause;
          return new Promise<undefined>((resolve) => setImmediate(resolve, undefined));
        });
        if (!entry) continue;
        kept.push(entry);
        break;
      }
      t.same(
        kept.map(({ seq }) => seq),
        kept.map((_, i) => i + 1),
        'no number is missing',
      );
      await store.delivered(kept[0]!.id, 'ok').catch(() => {}); // the index may be between two tries
      t.equal(await store.get(kept[0]!.id), undefined);
      await store.close();
      const again = await openStore(join(dir, 'store'), { reserve: 0 });
      t.same(again.report.damage, []);
      for (const entry of kept.slice(1)) t.equal(sha256(await bodyOf(again, entry)), entry.sha256);
      await again.close();
    } finally {
      spawnSync('umount', ['-l', dir]);
    }
  },
);

t.test('making room again and again walks once over what stands in front of a lower class', async (t) => {
  const dir = testdir(t);
  const { lane } = EntryIndex.prototype;
  let walked = 0;
  EntryIndex.prototype.lane = async function* (...args) {
    for await (const slot of lane.apply(this, args)) {
      walked++;
      yield slot;
    }
  };
  t.teardown(() => {
    EntryIndex.prototype.lane = lane;
  });
  const evictOne = async (store: Store): Promise<void> => {
    for await (const { id } of store.evictable(2)) {
      t.ok(await store.drop(id, 'evicted', 'full'));
      return;
    }
  };
  const store = await openStore(dir);
  await put(store, 'low', { class: 0 });
  await Promise.all(Array.from({ length: 3000 }, () => put(store, 'high', { class: 2 })));
  for (let i = 0; i < 40; i++) await put(store, 'low', { class: 0 });
  walked = 0;
  for (let i = 0; i < 20; i++) await evictOne(store);
  t.ok(walked < 3000 + 20 * 10, `${walked} slots for 20 evictions`);
  await store.close();
  const again = await openStore(dir);
  walked = 0;
  for (let i = 0; i < 21; i++) await evictOne(again);
  t.ok(walked < 21 * 10, `${walked} slots for 21 more after a restart`);
  t.equal((await all(again.evictable(2))).length, 0);
  t.equal(again.totals().get('dashcam')?.entries, 3000);
  await again.close();
});
