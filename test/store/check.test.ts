// `layby store check` by its logic: a store that nobody has open is read whole, and changed only where that is asked for.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { put } from '../../src/store/conformance.ts';
import { checkStore } from '../../src/store/leveldb/check.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { discardSetAside } from '../../src/store/leveldb/set-aside.ts';
import type { Entry } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

const SMALL = { generationBytes: 1024 * 1024 };

interface Made {
  dir: string;
  entries: Entry[];
  bodies: Buffer[];
}

const make = async (t: Test): Promise<Made> => {
  const dir = join(testdir(t, { data: {} }), 'data', 'store');
  const store = await openStore(dir, SMALL);
  const bodies = Array.from({ length: 8 }, (_, i) => randomBytes(i % 2 ? 300_000 : 900));
  const entries: Entry[] = [];
  for (const body of bodies) entries.push(await put(store, body));
  await store.close();
  return { dir, entries, bodies };
};

/** Every file with its bytes and time. */
const snapshot = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name))
    .map((path) => `${path} ${statSync(path).mtimeMs} ${readFileSync(path).toString('base64')}`)
    .sort();

const damage = ({ dir, bodies }: Made, which: number): void => {
  for (const file of readdirSync(join(dir, 'generations'), { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name);
    const content = file.isFile() ? readFileSync(path) : Buffer.alloc(0);
    const at = content.indexOf(bodies[which]!.subarray(200, 240));
    if (at < 0) continue;
    content[at]! ^= 1;
    writeFileSync(path, content);
  }
};

t.test('a store that is whole has no problems, and checking it changes nothing', async (t) => {
  const { dir } = await make(t);
  const before = snapshot(dir);
  t.same(await checkStore(dir, SMALL), { entries: 8, bytes: 4 * 300_900, problems: [], setAside: [] });
  t.same(snapshot(dir), before);
  t.same(readdirSync(join(dir, '..')), ['store'], 'nothing is left beside it');
});

t.test('a flipped bit is named with id and number; only with repair the entry is quarantined', async (t) => {
  const made = await make(t);
  damage(made, 1);
  const before = snapshot(made.dir);
  const { id } = made.entries[1]!;
  const problem = { id, seq: 2, destination: 'dashcam', reason: /CRC32C|missing/ };
  t.match(await checkStore(made.dir, SMALL), { entries: 8, bytes: 3 * 300_900 + 900, problems: [problem] });
  t.same(snapshot(made.dir), before);
  t.match(await checkStore(made.dir, { ...SMALL, repair: true }), { problems: [problem] });
  const store = await openStore(made.dir, SMALL);
  t.match(await store.get(id), { state: 'quarantined', reason: /CRC32C|missing/ });
  await store.close();
  t.match(await checkStore(made.dir, SMALL), { problems: [problem] }, 'until it is dropped');
});

t.test('a store that a process has open is refused, and so is a directory without one', async (t) => {
  const { dir } = await make(t);
  const fixture = new URL('fixtures/hold-open.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [fixture, dir], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  await t.rejects(checkStore(dir), { code: 'LAYBY_STORE_IN_USE' });
  await t.rejects(checkStore(dir, { repair: true }), { code: 'LAYBY_STORE_IN_USE' });
  child.stdin.end();
  await once(child, 'exit');
  const empty = join(dir, '..', 'empty');
  mkdirSync(empty);
  await t.rejects(checkStore(empty), { code: 'LAYBY_STORE_MISSING', remedy: /--data/ });
});

t.test('what was set aside is listed with bytes and reason, and goes only by hand', async (t) => {
  const { dir } = await make(t);
  writeFileSync(join(dir, 'index', 'CURRENT'), 'nonsense');
  const generation = readdirSync(join(dir, 'generations'))[0]!;
  writeFileSync(join(dir, 'generations', generation, 'CURRENT'), 'nonsense');
  t.same((await checkStore(dir, SMALL)).setAside, [], 'without repair only a copy was set aside');
  const { setAside } = await checkStore(dir, { ...SMALL, repair: true });
  const why = /CURRENT names no MANIFEST/;
  t.match(setAside.map(({ name }) => name).sort(), [
    new RegExp(`^generations/${generation}\\.damaged-\\d+$`),
    /^index\.damaged-\d+$/,
  ]);
  for (const { bytes, at, reason } of setAside) {
    t.match(reason, why);
    t.ok(bytes > 0 && Math.abs(Date.now() - at) < 60_000);
  }
  const again = await checkStore(dir, SMALL);
  t.match(again, { entries: 8, setAside });
  const store = await openStore(dir, SMALL);
  const bytes = setAside.reduce((sum, copy) => sum + copy.bytes, 0);
  t.same(store.report.setAside, { copies: 2, bytes });
  t.same(await store.setAside(), { copies: 2, bytes });
  await t.rejects(discardSetAside(dir, setAside), { code: 'LAYBY_STORE_IN_USE' });
  await store.close();
  const opened = await openStore(dir, SMALL);
  t.equal((await opened.setAside()).copies, 2, 'no opening removes it');
  await opened.close();
  await discardSetAside(dir, setAside);
  t.match(await checkStore(dir, SMALL), { entries: 8, bytes: again.bytes, setAside: [] });
});
