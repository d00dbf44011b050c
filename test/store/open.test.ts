// Who may open a store, and what may be in its directory.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { testdir } from '../rig/testdir.ts';

t.test('a store that another process has open is refused with the remedy', async (t) => {
  const dir = testdir(t);
  const fixture = new URL('fixtures/hold-open.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [fixture, dir], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  await t.rejects(openStore(dir), { code: 'LAYBY_STORE_IN_USE', remedy: /Stop it/ });
  child.stdin.end();
  await once(child, 'exit');
  const store = await openStore(dir);
  await t.rejects(openStore(dir), { code: 'LAYBY_STORE_IN_USE' }, 'nor twice in one process');
  await store.close();
});

t.test('a store of a newer format is refused', async (t) => {
  const dir = testdir(t, { 'format.json': '{"version":99}' });
  await t.rejects(openStore(dir), { code: 'LAYBY_STORE_NEWER', remedy: /newer Layby/ });
});

t.test('opening twenty times makes one generation', async (t) => {
  const dir = testdir(t);
  for (let i = 1; i <= 20; i++) {
    const store = await openStore(dir);
    t.equal((await put(store, `${i}`)).seq, i);
    await store.close();
  }
  t.same(await readdir(join(dir, 'generations')), ['00000001']);
});
