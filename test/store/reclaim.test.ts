// The disk is given back: generations go when nothing in them lives, and one dead letter does not hold one.

import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { all, bodyOf, put, sha256 } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry, Store } from '../../src/store/store.ts';
import { logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';

const SMALL = { generationBytes: 1024 * 1024 };

const fill = async (store: Store, count: number, bytes: number): Promise<Entry[]> => {
  const entries: Entry[] = [];
  for (let i = 0; i < count; i++) entries.push(await put(store, randomBytes(bytes)));
  return entries;
};

/** Removal runs behind the deliveries; closing waits for it, and opening goes on with what was left. */
const generationsAfter = async (dir: string, store: Store): Promise<string[]> => {
  await store.close();
  const again = await openStore(dir, SMALL);
  await again.close();
  return readdir(join(dir, 'generations'));
};

t.test('what is delivered gives its disk back', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir, SMALL);
  const entries = await fill(store, 20, 500_000);
  t.ok((await store.physicalBytes()) > 10_000_000);
  await Promise.all(entries.map(({ id }) => store.delivered(id, 'ok')));
  t.same(store.totals().get('dashcam'), {
    entries: 0,
    bytes: 0,
    dead: 0,
    staged: 0,
    quarantined: 0,
    held: 0,
  });
  const left = await generationsAfter(dir, store);
  t.ok(left.length <= 1, `${left.length} generations are left`);
});

t.test('a few entries that stay behind are copied forward, once the drain has passed', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir, SMALL);
  const entries = await fill(store, 40, 200_000);
  const body = randomBytes(3000);
  const odd = [entries[1]!, entries[17]!];
  for (const { id } of odd) await store.dead(id, 'refused');
  const tiny = await put(store, body);
  for (const entry of entries) if (!odd.includes(entry)) await store.delivered(entry.id, 'ok');
  const left = await generationsAfter(dir, store);
  t.ok(left.length <= 2, `${left.length} generations are left of 8`);

  const again = await openStore(dir, SMALL);
  t.same(again.report.damage, []);
  t.match(again.totals().get('dashcam'), { entries: 1, dead: 2, oldest: { id: tiny.id } });
  for (const entry of odd) {
    t.equal(sha256(await bodyOf(again, entry)), entry.sha256);
    t.same(await again.get(entry.id), { ...entry, state: 'dead', reason: 'refused' });
  }
  t.same(
    (await all(again.list())).map(({ seq }) => seq),
    [2, 18, 41],
  );
  await again.close();
});

t.test('a dead letter gives up its generation while the one after it is still full', async (t) => {
  const removed = Promise.withResolvers<void>();
  const log = logger('store');
  log.level = 'debug';
  log.debug = (found: object) => 'number' in found && found.number === 1 && removed.resolve();
  const store = await openStore(testdir(t), { ...SMALL, log });
  const entries = await fill(store, 20, 200_000);
  await store.dead(entries[0]!.id, 'refused');
  for (const { id } of entries.slice(1, 7)) await store.delivered(id, 'ok');
  await removed.promise;
  t.equal(sha256(await bodyOf(store, entries[0]!)), entries[0]!.sha256);
  await store.close();
});

t.test('entries can be read, tried and delivered while they are being copied', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir, SMALL);
  let wrong = 0;
  for (let round = 0; round < 6; round++) {
    const entries = await fill(store, 12, 150_000);
    await Promise.all(
      entries.map(async (entry, i) => {
        if (sha256(await bodyOf(store, entry)) !== entry.sha256) wrong++;
        if (i % 6 === round % 6) await store.failed(entry.id, 'reset');
        else await store.delivered(entry.id, 'ok');
      }),
    );
  }
  t.equal(wrong, 0);
  for await (const entry of store.list()) {
    t.match(entry, { state: 'stored', attempts: 1 });
    t.equal(sha256(await bodyOf(store, entry)), entry.sha256);
    await store.delivered(entry.id, 'ok');
  }
  t.same(store.totals().get('dashcam'), {
    entries: 0,
    bytes: 0,
    dead: 0,
    staged: 0,
    quarantined: 0,
    held: 0,
  });
  t.ok((await generationsAfter(dir, store)).length <= 1);
});

t.test('a body that is being read or written keeps its generations', async (t) => {
  const dir = testdir(t);
  const store = await openStore(dir, SMALL);
  const body = randomBytes(5_000_000);
  const entry = await put(store, body);
  const slow = await store.begin({ ...entry, id: 'slow' });
  await slow.write(randomBytes(600_000));
  const got: Buffer[] = [];
  for await (const piece of store.read(entry)) {
    if (got.length === 0) {
      await store.delivered(entry.id, 'ok');
      await fill(store, 8, 400_000);
    }
    got.push(piece);
  }
  t.ok(Buffer.concat(got).equals(body));
  for await (const { id } of store.list()) await store.delivered(id, 'ok');
  const last = await slow.commit();
  t.equal(sha256(await bodyOf(store, last)), last.sha256);
  await store.close();
});
