// `layby store check` as a person runs it.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { testdir } from '../rig/testdir.ts';
import { layby } from './layby-process.ts';

const flip = (dir: string, part: string): void => {
  for (const file of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const path = join(file.parentPath, file.name);
    const content = readFileSync(path);
    const at = content.indexOf(part);
    if (at < 0) continue;
    content[at]! ^= 1;
    writeFileSync(path, content);
  }
};

t.test('it says what is damaged, by number and id, with exit code 1', async (t) => {
  const data = testdir(t, { queue: {} });
  const store = await openStore(join(data, 'queue', 'store'));
  await put(store, 'the first body');
  const { id } = await put(store, 'the second body');
  await store.close();
  const whole = await layby(['store', 'check', '--data', data]);
  t.match(whole, { code: 0, stdout: '2 entries, 29 bytes, all whole\n', said: [] });

  flip(join(data, 'queue', 'store', 'generations'), 'the second body');
  const told = await layby(['store', 'check', '--data', data]);
  t.equal(told.code, 1);
  t.match(told.stdout, new RegExp(`^2 entries, 14 bytes, 1 problem\n.*\n2 +${id} +dashcam `));
  t.match(told.stdout, /nothing was changed: --repair/);
  const repaired = await layby(['store', 'check', '--data', data, '--repair', '--json']);
  t.equal(repaired.code, 1);
  t.match(JSON.parse(repaired.stdout), { entries: 2, problems: [{ id, seq: 2, destination: 'dashcam' }] });
});

t.test('where there is no store it says so, with the remedy', async (t) => {
  const { code, said } = await layby(['store', 'check', '--data', testdir(t)]);
  t.equal(code, 1);
  t.match(said, [/^layby: There is no store in .*: Name the data directory of layby up with --data$/]);
});

t.test('it tells what was set aside, and removes it only where that is asked for', async (t) => {
  const data = testdir(t, { queue: {} });
  const dir = join(data, 'queue', 'store');
  const store = await openStore(dir);
  await put(store, 'a body');
  await store.close();
  writeFileSync(join(dir, 'index', 'CURRENT'), 'nonsense');
  await layby(['store', 'check', '--data', data, '--repair']);
  const copies = () => readdirSync(dir).filter((name) => name.includes('.damaged-'));
  const [copy] = copies();
  const told = await layby(['store', 'check', '--data', data]);
  t.match(told, {
    code: 0,
    stdout: new RegExp(`set aside.*--discard-set-aside[^]*${copy} .* CURRENT names`),
  });
  t.same(copies(), [copy]);
  const discarded = await layby(['store', 'check', '--data', data, '--discard-set-aside']);
  t.match(discarded, { code: 0, stdout: new RegExp(`${copy} .* CURRENT names[^]*\nremoved\n$`) });
  t.same(copies(), []);
  t.match((await layby(['store', 'check', '--data', data])).stdout, /^1 entries, 6 bytes, all whole\n$/);
});
