// Entries are found by their resource, also in a store that was made before that, and in one whose index is gone.

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { Level } from 'level';
import t from 'tap';
import { all, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { seal, unseal } from '../../src/store/leveldb/sealed-json.ts';
import type { Store } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

const URLS = ['http://cam.example/a', 'http://cam.example/b?x', 'http://cam.example/c'];

const filled = async (dir: string): Promise<string[]> => {
  const store = await openStore(dir);
  const ids: string[] = [];
  for (const url of [...URLS, ...URLS]) ids.push((await put(store, url, { url })).id);
  await store.dead(ids[2]!, 'no');
  await store.close();
  return ids;
};

const waiting = async (store: Store, url: string): Promise<string[]> =>
  (await all(store.waitingFor('dashcam', url))).map(({ id }) => id);

t.test('a store of format 2 gets the rows of its entries when it is opened, once', async (t) => {
  const dir = testdir(t);
  const ids = await filled(dir);
  const index = new Level<string, string>(join(dir, 'index'), { compression: false });
  for await (const key of index.keys({ gt: 'r/', lt: 'r0' })) await index.del(key);
  for await (const [key, value] of index.iterator({ gt: 'l/', lt: 'l0' })) {
    const packed = unseal<[...unknown[]]>(value, key)!;
    packed[4] = (packed[4] as number[]).slice(0, 4);
    await index.put(key, seal(packed, key));
  }
  await index.close();
  await writeFile(join(dir, 'format.json'), `${JSON.stringify({ version: 2, crc32c: crc32c('2') })}\n`);

  for (const time of ['at first', 'later']) {
    const store = await openStore(dir);
    t.same(store.report.damage, [], time);
    t.same(await waiting(store, URLS[0]!), [ids[3], ids[0]], time);
    t.same(await waiting(store, URLS[2]!), [ids[5]], time);
    t.equal(await store.occupied('dashcam', URLS[1]!), true);
    if (time === 'later') {
      await store.retry(ids[2]!);
      t.same(await waiting(store, URLS[2]!), [ids[5], ids[2]], 'a dead letter was sorted too');
    }
    await store.close();
  }
});

t.test('an index that is lost is made anew with its rows', async (t) => {
  const dir = testdir(t);
  const ids = await filled(dir);
  await rm(join(dir, 'index'), { recursive: true });
  const store = await openStore(dir);
  t.same(await waiting(store, URLS[1]!), [ids[4], ids[1]]);
  await store.delivered(ids[4]!, 'ok');
  t.same(await waiting(store, URLS[1]!), [ids[1]]);
  await store.close();
});

t.test('two resources with one CRC32C are told apart by their records', async (t) => {
  // Found by counting.
  const [one, two] = collision();
  const store = await openStore(testdir(t));
  const first = await put(store, 'x', { url: `http://cam.example/${one}` });
  t.same(await waiting(store, `http://cam.example/${two}`), []);
  t.equal(await store.occupied('dashcam', `http://cam.example/${two}`), false);
  t.same(await waiting(store, `http://cam.example/${one}`), [first.id]);
  await store.close();
});

function collision(): [string, string] {
  const seen = new Map<number, string>();
  for (let i = 0; ; i++) {
    const path = (i * 7919).toString(36);
    const sum = crc32c(`cam.example/${path}`);
    const other = seen.get(sum);
    if (other !== undefined) return [other, path];
    seen.set(sum, path);
  }
}
