// Every format that ever was: real stores of it are opened, read whole, and go on (fixtures/formats/README.md).

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { all, bodyOf, put, sha256 } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Entry } from '../../src/store/store.ts';
import { testdir } from '../rig/testdir.ts';

const ARCHIVES = new URL('fixtures/formats/', import.meta.url).pathname;
/** Of the encrypted ones. */
const KEY = Buffer.alloc(32, 0x2a);
const SUFFIX = '.tar.gz';

const names = readdirSync(ARCHIVES).filter((name) => name.endsWith(SUFFIX));
const versionIn = (dir: string): number =>
  (JSON.parse(readFileSync(join(dir, 'format.json'), 'utf8')) as { version: number }).version;

for (const name of names) {
  t.test(`a real store of ${name.slice(0, -SUFFIX.length)} is opened, read whole, and goes on`, async (t) => {
    const dir = testdir(t);
    execFileSync('tar', ['-xzf', join(ARCHIVES, name), '-C', dir]);
    const store = join(dir, 'store');
    const expected = JSON.parse(readFileSync(join(dir, 'expected.json'), 'utf8')) as {
      entries: Entry[];
      left: string;
    };
    t.match(name, `format-${versionIn(store)}-`);
    const options = name.includes('encrypted') ? { key: KEY } : {};

    const opened = await openStore(store, options);
    t.equal(opened.report.entries, expected.entries.length);
    t.same(opened.report.damage, []);
    t.match(await all(opened.list()), expected.entries);
    for (const entry of expected.entries)
      t.equal(sha256(await bodyOf(opened, entry)), entry.sha256, entry.url);
    t.match(await all(opened.audit({ id: expected.left })), [
      { kind: 'stored' },
      { kind: 'delivered', detail: '200' },
    ]);
    t.same(await all(opened.expired()), []);
    const dead = expected.entries.find(({ state }) => state === 'dead')!;
    t.equal(await opened.retry(dead.id), true);
    const last = Math.max(...expected.entries.map(({ seq }) => seq));
    t.equal((await put(opened, 'a new body')).seq, last + 1);
    await opened.close();

    const again = await openStore(store, options);
    t.same(again.report.damage, []);
    const entries = await all(again.list({ state: 'stored' }));
    t.equal(entries.length, expected.entries.length + 1);
    for (const entry of entries) {
      t.equal((await bodyOf(again, entry)).length, entry.bytes);
      await again.delivered(entry.id, '200');
    }
    t.same(await all(again.list()), []);
    await again.close();
  });
}

t.test('there is a plain and an encrypted store of the present format', async (t) => {
  const dir = testdir(t);
  await (await openStore(dir)).close();
  for (const kind of ['plain', 'encrypted'])
    t.ok(names.includes(`format-${versionIn(dir)}-${kind}${SUFFIX}`), `README.md says how to make ${kind}`);
});
