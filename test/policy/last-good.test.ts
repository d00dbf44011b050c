// The policy that is kept for a start without signal.

import { readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loadLastGood, saveLastGood } from '../../src/policy/last-good.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { testdir } from '../rig/testdir.ts';
import { destination } from './documents.ts';

const FILE = 'policy.last-good.json';
const policy = parsePolicy([{ path: 'p', text: destination({ more: 'store: {ttl: 1h}' }) }]);
const next = parsePolicy([{ path: 'p', text: destination({ name: 'other' }) }]);

t.test('where none was saved there is none', async (t) => {
  t.equal(loadLastGood(testdir(t)), undefined);
  t.equal(loadLastGood(join(testdir(t), 'nowhere')), undefined);
});

t.test('what was saved is loaded, nothing else is left in the directory', async (t) => {
  const dir = join(testdir(t), 'made', 'here');
  await saveLastGood(dir, policy);
  t.strictSame(loadLastGood(dir), policy);
  t.strictSame(await readdir(dir), [FILE]);
});

t.test('of several saves under way the last one stays', async (t) => {
  const dir = testdir(t);
  await Promise.all([policy, next, policy, next, policy, next].map((each) => saveLastGood(dir, each)));
  t.strictSame(loadLastGood(dir), next);
});

t.test('a draft that a power cut left behind is neither loaded nor in the way', async (t) => {
  const dir = testdir(t, { [`${FILE}.tmp`]: '{"format":1,"ver' });
  t.equal(loadLastGood(dir), undefined);
  await saveLastGood(dir, policy);
  t.strictSame(loadLastGood(dir), policy);
});

t.test('a damaged one is refused with the file and a remedy, never half understood', async (t) => {
  const dir = testdir(t);
  await saveLastGood(dir, policy);
  const path = join(dir, FILE);
  const good = readFileSync(path, 'utf8');
  for (const [how, text] of Object.entries({
    empty: '',
    torn: good.slice(0, -20),
    flipped: good.replace('3600000', '3600001'),
    'another format': good.replace('"format":1', '"format":2'),
    null: 'null',
    list: '[]',
  })) {
    writeFileSync(path, text);
    t.throws(
      () => loadLastGood(dir),
      { code: 'LAYBY_POLICY_LAST_GOOD_DAMAGED', message: path, remedy: String },
      how,
    );
  }
});

t.test('a directory that cannot be written is an error with its name', async (t) => {
  const dir = testdir(t, { file: '' });
  await t.rejects(saveLastGood(join(dir, 'file'), policy), {
    code: 'LAYBY_POLICY_LAST_GOOD_UNWRITABLE',
    message: dir,
  });
});
