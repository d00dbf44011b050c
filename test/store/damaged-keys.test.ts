// Law 2 against a disk that gives another key than was written: LevelDB does not check what it reads, and a key has no checksum
// that would stand beside it. Keys that nobody wrote are found at the opening, go, and are made up for, once.

import { join } from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { all, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Store } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

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

/** The index as LevelDB has it. */
const withIndex = async <T>(dir: string, use: (raw: Raw) => Promise<T>): Promise<T> => {
  const raw: Raw = new Level(join(dir, 'index'), {
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
  withIndex(dir, async (raw) =>
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
      await withIndex(dir, async (raw) => {
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
