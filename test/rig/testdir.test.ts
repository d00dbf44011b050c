import { existsSync, readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { testdir } from './testdir.ts';

t.test('a directory of a test is there until all its teardowns are over, and then gone', async (t) => {
  const seen: boolean[] = [];
  let dir = '';
  await t.test('a test with a directory', async (t) => {
    dir = testdir(t);
    t.teardown(() => seen.push(existsSync(dir)));
    t.ok(existsSync(dir));
  });
  t.same(seen, [true]);
  t.notOk(existsSync(dir));
});

t.test("no test takes its directory from tap's own function", async (t) => {
  const tests = join(import.meta.dirname, '..');
  const named: string[] = [];
  for await (const file of glob('**/*.ts', { cwd: tests }))
    if (/\w\.testdir\(/.test(readFileSync(join(tests, file), 'utf8'))) named.push(file);
  t.same(named, ['rig/testdir.ts']);
});
