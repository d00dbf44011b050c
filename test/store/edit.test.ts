// An entry that is edited or moved to another destination has a second record beside the first: what counts of the two when the index is
// lost, or the bodies move.

import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { all, bodyOf, put, sha256 } from '../../src/store/conformance.ts';
import { laneKey } from '../../src/store/leveldb/keys.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { testdir } from '../rig/testdir.ts';

const url = (name: string): string => `http://cam.example/${name}`;

t.test(
  'without its index the store finds the last edit of an entry, and not what it was before',
  async (t) => {
    const dir = testdir(t);
    const store = await openStore(dir);
    const [edited, other] = [await put(store, randomBytes(300_000)), await put(store, 'as it came')];
    await store.dead(edited.id, '400');
    for (const name of ['first', 'second', 'third']) await store.edit(edited.id, { url: url(name) }, name);
    await store.close();
    rmSync(join(dir, 'index'), { recursive: true });
    const again = await openStore(dir);
    t.match(await again.get(edited.id), { url: url('third'), seq: 1 });
    t.match(await again.get(other.id), { url: other.url, seq: 2 });
    t.equal(sha256(await bodyOf(again, edited)), edited.sha256);
    t.match(again.totals().get('dashcam'), { entries: 2, dead: 0 });
    await again.close();
  },
);

t.test('an edit goes with its entry when that is copied forward', async (t) => {
  const dir = testdir(t);
  const generationBytes = 1024 * 1024;
  const store = await openStore(dir, { generationBytes });
  const edited = await put(store, randomBytes(50_000));
  await store.dead(edited.id, '400');
  await store.edit(edited.id, { url: url('new'), headers: [] }, 'by hand');
  // The first generation fills, and all but the dead letter leaves it.
  for (let i = 0; i < 8; i++) await store.delivered((await put(store, randomBytes(400_000))).id, '200');
  await store.makeRoom(Number.MAX_SAFE_INTEGER);
  t.notOk(readdirSync(join(dir, 'generations')).includes('00000001'));
  const now = (await store.get(edited.id))!;
  t.match(now, { url: url('new'), seq: 1, state: 'dead' });
  t.equal(sha256(await bodyOf(store, now)), edited.sha256);
  await store.close();
  rmSync(join(dir, 'index'), { recursive: true });
  const again = await openStore(dir, { generationBytes });
  t.match(await again.get(edited.id), { url: url('new') }, 'the copy is of the edit');
  await again.close();
});

t.test('without its index the store finds a moved entry at its last destination', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir);
  const moved = await put(store, randomBytes(300_000));
  const staged = await put(store, 'part', { group: 'g' });
  for (const [from, destination] of [
    ['dashcam', 'b'],
    ['b', 'c'],
  ] as const)
    for (const { id } of [moved, staged])
      t.equal(await store.move(id, { from, destination, orderKey: 'k' }, 'by hand'), true);
  await store.dead(moved.id, '400');
  await store.close();
  rmSync(join(dir, 'index'), { recursive: true });
  const again = await openStore(dir);
  t.match(await again.get(moved.id), { destination: 'c', orderKey: 'k', seq: 1 });
  t.equal(sha256(await bodyOf(again, moved)), moved.sha256);
  t.match(again.totals().get('c'), { entries: 1, staged: 1 });
  t.notOk(again.totals().get('dashcam')?.entries);
  t.equal((await all(again.list())).length, 2);
  t.equal((await all(again.staged('c', 'g'))).length, 1);
  await again.close();
  const third = await openStore(dir);
  t.same(third.report.damage, []);
  await third.close();
});

t.test('a damaged row of a moved entry is replaced where the entry is', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir);
  const { id } = await put(store, 'x');
  await store.move(id, { from: 'dashcam', destination: 'b', orderKey: '' }, 'by hand');
  await store.close();
  const index = new Level(join(dir, 'index'));
  await index.put(laneKey('b', 1), 'damaged');
  await index.close();
  const again = await openStore(dir);
  t.match(await again.get(id), { destination: 'b', seq: 1 });
  await again.close();
  const third = await openStore(dir);
  t.same(third.report.damage, []);
  t.equal((await all(third.list())).length, 1);
  await third.close();
});

t.test('a damaged row goes where its entry is found again at another destination', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir);
  const { id } = await put(store, 'x');
  await store.close();
  const index = new Level(join(dir, 'index'));
  await index.del(laneKey('dashcam', 1));
  await index.put(laneKey('b', 1), 'damaged');
  await index.close();
  const again = await openStore(dir);
  t.match(await again.get(id), { destination: 'dashcam', seq: 1 });
  await again.close();
  const third = await openStore(dir);
  t.same(third.report.damage, []);
  t.same(
    (await all(third.list())).map(({ destination }) => destination),
    ['dashcam'],
  );
  await third.close();
});
