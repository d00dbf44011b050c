// Law 2 against the disk: what is damaged or gone is found, named and kept apart; the rest goes on.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { all, bodyOf, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry, Store } from '../../src/store/store.ts';
import { compact } from '../rig/compact.ts';
import { testdir } from '../rig/testdir.ts';

const SMALL = { generationBytes: 1024 * 1024 };

/** Flips one bit of the first place below `dir` where `bytes` stand in a file. */
const flip = async (dir: string, bytes: Buffer): Promise<string> => {
  for (const file of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const path = join(file.parentPath, file.name);
    const content = await readFile(path);
    const at = content.indexOf(bytes);
    if (at < 0) continue;
    content[at]! ^= 1;
    await writeFile(path, content);
    return file.name;
  }
  throw new Error('the bytes are in no file');
};

const readsAll = async (t: Test, store: Store, entries: Iterable<[Entry, Buffer]>): Promise<void> => {
  for (const [entry, body] of entries) t.ok((await bodyOf(store, entry)).equals(body), `entry ${entry.seq}`);
};

/** Entries of 300 KB with their bodies; three fill a generation of 1 MiB. */
const fill = async (store: Store, count: number, bytes = 300_000): Promise<[Entry, Buffer][]> => {
  const entries: [Entry, Buffer][] = [];
  for (let i = 0; i < count; i++) {
    const body = randomBytes(bytes);
    entries.push([await put(store, body), body]);
  }
  return entries;
};

t.test('a list with a limit goes on behind entries that turn out to be damaged', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir, SMALL);
  const entries = await fill(before, 6, 200_000);
  await before.close();
  for (const [{ sha256 }] of entries.slice(0, 2)) await flip(join(dir, 'generations'), Buffer.from(sha256));

  const store = await openStore(dir, SMALL);
  const listed = await all(store.list({ destination: 'dashcam', state: 'stored', limit: 2 }));
  const healthy = await all(store.list({ destination: 'dashcam', state: 'stored' }));
  t.ok((store.totals().get('dashcam')?.quarantined ?? 0) >= 2 && healthy.length > 2);
  t.same(listed, healthy.slice(0, 2), 'fewer than the limit would say that there are no more');
  await store.close();
});

t.test(
  'a flipped bit in a table is found before the byte leaves, and the entry is quarantined',
  async (t) => {
    const dir = testdir(t);
    const before = await openStore(dir, SMALL);
    const entries = await fill(before, 6);
    await before.close();
    const [entry, body] = entries[1]!;
    t.match(await flip(join(dir, 'generations'), body.subarray(270_000, 270_040)), /ldb$/);

    const store = await openStore(dir, SMALL);
    t.same(store.report.damage, []);
    const kinds: string[] = [];
    store.on('event', ({ kind }) => kinds.push(kind));
    const got: Buffer[] = [];
    await t.rejects(
      async () => {
        for await (const piece of store.read(entry)) got.push(piece);
      },
      { code: 'LAYBY_ENTRY_DAMAGED', message: /CRC32C of a chunk/ },
    );
    t.ok(body.subarray(0, Buffer.concat(got).length).equals(Buffer.concat(got)), 'no wrong byte left');
    t.same(kinds, ['quarantined']);
    t.match(await store.get(entry.id), { state: 'quarantined', reason: /CRC32C/, url: entry.url });
    t.match(store.totals().get('dashcam'), { entries: 5, quarantined: 1 });
    t.equal((await all(store.list({ state: 'stored' }))).length, 5);
    await t.rejects(bodyOf(store, entry), { code: 'LAYBY_ENTRY_DAMAGED' });
    await readsAll(t, store, entries.toSpliced(1, 1));
    await store.close();
    const again = await openStore(dir, SMALL);
    t.match(await again.get(entry.id), { state: 'quarantined', reason: /CRC32C/ });
    await again.close();
  },
);

t.test('a batch that LevelDB drops from a damaged log is missed', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 4, 3000);
  await before.close();
  const [entry, body] = entries[1]!;
  t.match(await flip(join(dir, 'generations'), body.subarray(100, 140)), /log$/);

  const store = await openStore(dir);
  t.match(await store.get(entry.id), { state: 'quarantined', id: entry.id, seq: 2, bytes: 3000 });
  await t.rejects(bodyOf(store, entry), { code: 'LAYBY_ENTRY_DAMAGED' });
  t.match(
    (await all(store.list())).map(({ seq, state }) => `${seq} ${state}`),
    ['1 stored', '2 quarantined', /^3/, /^4/],
  );
  await store.close();
});

t.test('an entry that is gone before it was indexed is reported by its number', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 4, 50_000); // LevelDB drops the rest of a 32 KiB block of its log with the damage
  await before.close();
  await rm(join(dir, 'index'), { recursive: true });
  await flip(join(dir, 'generations'), entries[1]![1].subarray(100, 140));

  const store = await openStore(dir);
  t.match(store.report.damage, [{ reason: /index was missing/ }, { seq: 2, reason: /missing/ }]);
  await readsAll(t, store, entries.toSpliced(1, 1));
  t.equal((await put(store, 'next')).seq, 5);
  await store.close();
});

t.test('without its index everything is back, from many generations', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir, SMALL);
  const entries = await fill(before, 12);
  const small = await fill(before, 50, 700);
  await before.dead(entries[0]![0].id, 'refused');
  await before.close();
  await rm(join(dir, 'index'), { recursive: true });

  const store = await openStore(dir, SMALL);
  t.match(store.report, { entries: 62, abandoned: 0, damage: [{ reason: /rebuilt from the generations/ }] });
  t.equal(store.report.damage.length, 1);
  t.match(store.totals().get('dashcam'), { entries: 62, bytes: 12 * 300_000 + 50 * 700 });
  await readsAll(t, store, [...entries, ...small]);
  t.equal((await put(store, 'next')).seq, 63);
  await store.close();
});

t.test('a damaged index is mended, and kept as it was', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 5, 2000);
  await before.close();
  const index = join(dir, 'index');
  const manifest = (await readdir(index)).find((name) => name.startsWith('MANIFEST'))!;
  await writeFile(join(index, manifest), 'no manifest at all');

  const store = await openStore(dir);
  t.match(store.report.damage, [{ reason: /index was damaged .* are in index\.damaged-/ }]);
  t.ok((await readdir(dir)).some((name) => name.startsWith('index.damaged-')));
  await readsAll(t, store, entries);
  await store.close();
});

t.test('a damaged place in the index is found again in the generations', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 5, 2000);
  await before.delivered(entries[0]![0].id, 'ok');
  await before.dead(entries[2]![0].id, 'refused');
  await before.close();
  await compact(join(dir, 'index'));
  t.match(await flip(join(dir, 'index'), Buffer.from(`${entries[2]![0].id}",2000`)), /ldb$/);

  const store = await openStore(dir);
  t.match(store.report.damage, [{ reason: /index was damaged/ }, { seq: 3, reason: /found again/ }]);
  t.equal(await store.get(entries[0]![0].id), undefined, 'what was delivered stays away');
  t.match(await store.get(entries[2]![0].id), { state: 'dead', reason: 'refused' });
  t.match(store.totals().get('dashcam'), { entries: 3, bytes: 6000, dead: 1 });
  await readsAll(t, store, entries.slice(1));
  await store.close();
});

t.test('a batch that LevelDB drops from a damaged log of the index is made up for', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 5, 2000);
  await before.close();
  t.match(await flip(join(dir, 'index'), Buffer.from(`${entries[2]![0].id}",2000`)), /log$/);

  const store = await openStore(dir);
  await readsAll(t, store, entries);
  t.match(store.totals().get('dashcam'), { entries: 5, bytes: 10_000 });
  await store.close();
});

t.test(
  'a generation that has lost its tables is kept as it was, and what they held is quarantined',
  async (t) => {
    const dir = testdir(t);
    const before = await openStore(dir, SMALL);
    const entries = await fill(before, 12);
    await before.close();
    const second = join(dir, 'generations', '00000002');
    for (const name of await readdir(second)) if (name.endsWith('.ldb')) await rm(join(second, name));

    const store = await openStore(dir, SMALL);
    const states = new Map<string, number>();
    for await (const { state } of store.list()) states.set(state, (states.get(state) ?? 0) + 1);
    const quarantined = states.get('quarantined')!;
    t.ok(quarantined >= 3 && quarantined <= 5, `${quarantined} quarantined`);
    t.equal(states.get('stored'), 12 - quarantined);
    t.match(store.totals().get('dashcam'), { entries: 12 - quarantined, quarantined });
    const [first] = await all(store.list({ state: 'quarantined', limit: 1 }));
    t.match(first, { reason: /record is missing/, destination: 'dashcam' });
    t.ok((await readdir(join(dir, 'generations'))).some((name) => name.startsWith('00000002.damaged-')));
    for await (const entry of store.list({ state: 'stored' })) {
      const [, body] = entries.find(([{ id }]) => id === entry.id)!;
      t.ok((await bodyOf(store, entry)).equals(body));
    }
    await store.close();
  },
);

t.test('a generation whose MANIFEST is damaged is mended, and nothing is lost', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir, SMALL);
  const entries = await fill(before, 6);
  await before.close();
  const first = join(dir, 'generations', '00000001');
  const manifest = (await readdir(first)).find((name) => name.startsWith('MANIFEST'))!;
  await writeFile(join(first, manifest), 'no manifest at all');

  const store = await openStore(dir, SMALL);
  await readsAll(t, store, entries);
  t.match(store.report.damage, [{ reason: /generation 1 was damaged .* repaired/ }], 'told when it was read');
  await store.close();
});

t.test('a table that LevelDB would end the process over never gets to it', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir, SMALL);
  const entries = await fill(before, 6);
  await before.close();
  const first = join(dir, 'generations', '00000001');
  const table = join(first, (await readdir(first)).find((name) => name.endsWith('.ldb'))!);
  const content = await readFile(table);
  content[1] = 3; // the length of the first key
  await writeFile(table, content);

  const store = await openStore(dir, SMALL);
  let quarantined = 0;
  for (const [entry, body] of entries)
    await bodyOf(store, entry).then(
      (bytes) => t.ok(bytes.equals(body)),
      (cause) => quarantined++ || t.equal(cause.code, 'LAYBY_ENTRY_DAMAGED'),
    );
  t.ok(quarantined <= 1, `${quarantined} quarantined`);
  await store.close();
});

t.test('an index that has lost a flush in its middle is compared with the generations', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 30, 2000);
  for (const [{ id }] of entries) await before.failed(id, 'x'.repeat(3000)); // several blocks of 32 KiB
  const [late, body] = (await fill(before, 1, 2000))[0]!;
  await before.delivered(entries[29]![0].id, 'ok');
  await before.close();
  await flip(join(dir, 'index'), Buffer.from(`${entries[2]![0].id}",2000`));

  const store = await openStore(dir);
  t.match(store.report.damage[0], { reason: /index was damaged/ });
  await readsAll(t, store, [...entries.slice(0, 29), [late, body]]);
  t.equal((await put(store, 'next')).seq, 32);
  await store.close();
  const again = await openStore(dir);
  t.same(again.report.damage, [], 'once');
  await again.close();
});

t.test('what is missing at the very end is reported, also without the index', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  await fill(before, 3, 50_000);
  const [[, body]] = (await fill(before, 1, 50_000)) as [[Entry, Buffer]];
  await before.close();
  await rm(join(dir, 'index'), { recursive: true });
  t.match(await flip(join(dir, 'generations'), body.subarray(100, 140)), /log$/);

  const store = await openStore(dir);
  t.match(store.report.damage, [{ reason: /index was missing/ }, { seq: 4, reason: /missing/ }]);
  t.equal((await put(store, 'next')).seq, 5, 'its number is not given again');
  await store.close();
});

t.test('a damaged format is no newer format', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 2, 100);
  await before.close();
  await flip(dir, Buffer.from('3,"crc32c"'));

  const store = await openStore(dir);
  t.match(store.report.damage, [{ reason: /format\.json was damaged/ }]);
  await readsAll(t, store, entries);
  await store.close();
});

t.test('whatever became of the files of the lock, the store opens and one process has it', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir);
  const entries = await fill(before, 1, 100);
  await before.close();
  for (const content of ['', 'MANIFE\0T-000004\n', 'MANIFEST-9\n', `${'x'.repeat(300)}\n`]) {
    await writeFile(join(dir, 'lock', 'CURRENT'), content);
    const store = await openStore(dir);
    t.same(store.report.damage, []);
    await readsAll(t, store, entries);
    await t.rejects(openStore(dir), { code: 'LAYBY_STORE_IN_USE' });
    await store.close();
  }
});

t.test('a generation that is gone is reported when the store is opened', async (t) => {
  const dir = testdir(t);
  const before = await openStore(dir, SMALL);
  const entries = await fill(before, 12);
  await before.close();
  await rename(join(dir, 'generations', '00000002'), join(dir, 'taken-away'));

  const store = await openStore(dir, SMALL);
  t.match(store.report.damage[0], { reason: 'generation 2 is missing' });
  const named = store.report.damage.flatMap(({ id }) => id ?? []);
  t.equal(store.totals().get('dashcam')!.quarantined, named.length);
  t.ok(named.length >= 3);
  t.ok(entries.some(([{ id }]) => named.includes(id)));
  await store.close();
  const again = await openStore(dir, SMALL);
  t.same(again.report.damage, [], 'once');
  await again.close();
});

t.test('a body without a commit is counted and leaves nothing', async (t) => {
  const dir = testdir(t);
  const fixture = new URL('fixtures/abandon.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [fixture, dir], { stdio: ['ignore', 'inherit', 'inherit'] });
  await once(child, 'exit');
  const store = await openStore(dir);
  t.match(store.report, { abandoned: 2, entries: 1, damage: [] });
  await store.close();
  const again = await openStore(dir);
  t.equal(again.report.abandoned, 0, 'once');
  await again.close();
});
