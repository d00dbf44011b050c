// What a power cut leaves where a disk keeps the write of a MANIFEST and not the name of the table that it adds: no damage.

import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import t from 'tap';
import { bodyOf, put } from '../../src/store/conformance.ts';
import { undoUnfinishedEdit } from '../../src/store/leveldb/manifest.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { testdir } from '../rig/testdir.ts';

const manifestIn = (dir: string): string => readFileSync(join(dir, 'CURRENT'), 'latin1').trimEnd();

/** A LevelDB as it was before a table was made, with the MANIFEST from after that. */
const unfinished = async (dir: string): Promise<string> => {
  const [whole, left] = [join(dir, 'whole'), join(dir, 'left')];
  const db = new Level(whole) as Level & { compactRange(start: string, end: string): Promise<void> };
  await db.put('a', 'in a table');
  await db.compactRange('', '~');
  await db.put('b', 'in the log');
  cpSync(whole, left, { recursive: true });
  await db.compactRange('', '~');
  await db.close();
  cpSync(join(whole, manifestIn(whole)), join(left, manifestIn(left)));
  return left;
};

t.test('an edit whose table is not there, while its log is, is taken out and nothing is lost', async (t) => {
  const left = await unfinished(testdir(t));
  const db = new Level(left);
  await t.rejects(db.open(), { cause: { message: /missing files/ } });
  t.equal(await undoUnfinishedEdit(left), true);
  t.equal(await undoUnfinishedEdit(left), false);
  await db.open();
  t.same(await db.iterator().all(), [
    ['a', 'in a table'],
    ['b', 'in the log'],
  ]);
  await db.close();
});

t.test('where the log is gone too it stays, and so it does where all is there', async (t) => {
  const left = await unfinished(testdir(t));
  for (const name of readdirSync(left)) if (name.endsWith('.log')) rmSync(join(left, name));
  const before = readFileSync(join(left, manifestIn(left)));
  t.equal(await undoUnfinishedEdit(left), false);
  t.ok(readFileSync(join(left, manifestIn(left))).equals(before));
  t.equal(await undoUnfinishedEdit(join(left, '..', 'whole')), false);
});

t.test('a store that a power cut left so has nothing to report', async (t) => {
  const dir = testdir(t);
  const [whole, left] = [join(dir, 'whole'), join(dir, 'left')];
  const options = { generationBytes: 64 * 1024 };
  const store = await openStore(whole, options);
  const entries = [await put(store, 'one'), await put(store, 'x'.repeat(40_000))];
  await store.failed(entries[0]!.id, 'the index is on the disk');
  cpSync(whole, left, { recursive: true });
  for (let i = 0; i < 3; i++) await put(store, 'x'.repeat(40_000)); // the first generation is sealed
  await store.close();
  const [from, to] = [whole, left].map((at) => join(at, 'generations', '00000001')) as [string, string];
  cpSync(join(from, manifestIn(from)), join(to, manifestIn(to)));
  const after = await openStore(left, options);
  t.same(after.report.damage, []);
  for (const entry of entries) t.equal((await bodyOf(after, entry)).length, entry.bytes);
  await after.close();
  t.same(
    readdirSync(join(left, 'generations')).filter((name) => name.includes('damaged')),
    [],
  );
});
