// Law 2 against a disk that gives another key than was written: LevelDB does not check what it reads, and a key has no checksum
// that would stand beside it. Keys of the index that nobody wrote are found at the opening, go, and are made up for, once;
// those of a generation stay, and cost no entry but their own.

import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { all, bodyOf, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry, Store } from '../../src/store/store.ts';
import { between, randomFrom } from '../rig/random.ts';
import { testdir } from '../rig/testdir.ts';

const SEED = Number(process.env.LAYBY_SEED ?? 1);

/** What stands in the index, by what its keys begin with. */
const ROWS: Record<string, string> = {
  'a/': 'a block of the audit trail',
  'i/': 'an id',
  'l/': 'a slot',
  'p/': 'the progress of a delivery',
  'r/': 'a row of a resource',
  't/': 'a time to live',
};

const last = (key: Buffer, byte: number): Buffer => Buffer.concat([key.subarray(0, -1), Buffer.from([byte])]);
const replaced = (key: Buffer, from: string, to: string): Buffer =>
  Buffer.from(key.toString().replace(from, to));

const DAMAGES: Record<string, (key: Buffer) => Buffer> = {
  'is no UTF-8': (key) => last(key, key.at(-1)! | 128),
  'ends in another sign': (key) => last(key, 0x3b),
  'has a destination that cannot be decoded': (key) => replaced(key, 'https%3A', 'https%3Z'),
  'has a destination that is written otherwise': (key) => replaced(key, 'dashcam', 'dashc%61m'),
  'is cut short': (key) => key.subarray(0, -1),
  'is nothing but its kind': (key) => key.subarray(0, 2),
};

type Raw = Level<Buffer, Buffer>;

/** A database of the store as LevelDB has it. */
const withLevel = async <T>(path: string, use: (raw: Raw) => Promise<T>): Promise<T> => {
  const raw: Raw = new Level(path, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
  });
  await raw.open();
  try {
    return await use(raw);
  } finally {
    await raw.close();
  }
};

/** Those that tell of what waits. */
const keysOf = (dir: string): Promise<string[]> =>
  withLevel(join(dir, 'index'), async (raw) =>
    (await raw.keys().all()).map((key) => key.toString('latin1')).filter((key) => /^[ilrt]/.test(key)),
  );

const kindsOf = async (store: Store, id: string): Promise<string[]> =>
  (await all(store.audit({ id }))).map(({ kind }) => kind);

for (const [prefix, what] of Object.entries(ROWS))
  for (const [how, damaged] of Object.entries(DAMAGES)) {
    if (!'lr'.includes(prefix[0]!) && /destination/.test(how)) continue;
    t.test(`${what} whose key ${how}`, async (t) => {
      const dir = testdir(t);
      const before = await openStore(dir);
      const waiting = await put(before, 'waits', { destination: 'https://dashcam.example', ttl: 3_600_000 });
      await before.setProgress(waiting.id, { part: 1 });
      const dead = await put(before, 'dead');
      await before.dead(dead.id, 'refused');
      const { id: left } = await put(before, 'delivered');
      await before.delivered(left, 'ok');
      await before.close();
      const keys = await keysOf(dir);
      await withLevel(join(dir, 'index'), async (raw) => {
        const rows = await raw.iterator({ gte: Buffer.from(prefix), lt: Buffer.from(`${prefix}~`) }).all();
        t.not(rows.length, 0);
        for (const [key, value] of rows) {
          await raw.del(key);
          await raw.put(damaged(key), value);
        }
      });

      const store = await openStore(dir);
      // The progress of a delivery is a hint: without it the delivery begins anew.
      const told = prefix === 'a/' ? /audit trail was damaged/ : /index was damaged/;
      if (prefix !== 'p/') t.match(store.report.damage[0], { reason: told });
      t.same(
        (await all(store.list())).map(({ id, state, reason }) => [id, state, reason]),
        [
          [waiting.id, 'stored', undefined],
          [dead.id, 'dead', 'refused'],
        ],
      );
      t.equal(await store.get(left), undefined);
      const { id: late } = await put(store, 'late');
      await store.delivered(late, 'ok');
      t.same(await kindsOf(store, late), ['stored', 'delivered'], 'the audit trail goes on');
      await store.close();
      t.same(await keysOf(dir), keys, 'the rows are what they were');

      const again = await openStore(dir);
      t.same(again.report.damage, [], 'told once');
      t.same(await kindsOf(again, late), ['stored', 'delivered']);
      await again.close();
    });
  }

t.test('a key of a generation, at any place: it costs no entry but its own, and is told once', async (t) => {
  for (let seed = SEED; seed < SEED + 60; seed++) {
    const random = randomFrom(seed);
    const dir = join(testdir(t), 'd');
    const options = { generationBytes: 200_000 };
    const before = await openStore(dir, options);
    const stored: [Entry, Buffer][] = [];
    for (const bytes of [0, 300, 70_000, 3000, 0, 300, 70_000, 3000]) {
      const body = randomBytes(bytes);
      stored.push([await put(before, body), body]);
    }
    await before.close();
    const generations = readdirSync(join(dir, 'generations'));
    const generation = generations[between(random, [0, generations.length - 1])]!;
    const how = await withLevel(join(dir, 'generations', generation), async (raw) => {
      const rows = await raw.iterator().all();
      const [key, value] = rows[between(random, [0, rows.length - 1])]!;
      const damaged = Buffer.from(key);
      damaged[between(random, [0, key.length - 1])]! ^= 1 << between(random, [0, 7]);
      await raw.del(key);
      await raw.put(damaged, value);
      return `seed ${seed}, ${generation}: ${key.toString('hex')} is ${damaged.toString('hex')}`;
    });
    if (random() < 0.3) rmSync(join(dir, 'index'), { recursive: true });

    const store = await openStore(dir, options);
    let lost = 0;
    for (const [entry, body] of stored) {
      const found = await store.get(entry.id);
      if (!found) lost++;
      else
        await bodyOf(store, found).then(
          (got) => got.equals(body) || t.fail(`wrong bytes: ${how}`),
          ({ code }) => code === 'LAYBY_ENTRY_DAMAGED' || t.fail(`${code}: ${how}`),
        );
    }
    t.ok(lost <= 1, `${lost} are lost: ${how}`);
    t.ok(lost === 0 || store.report.damage.length > 0, `told: ${how}`);
    t.equal((await put(store, 'next')).seq, stored.length + 1);
    await store.close();
    const again = await openStore(dir, options);
    t.same(again.report.damage, [], `told once: ${how}`);
    await again.close();
  }
});
