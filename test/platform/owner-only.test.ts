import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeOwnerOnly } from '../../src/platform/owner-only.ts';
import { testdir } from '../rig/testdir.ts';

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

/** A file or directory of an older version. */
const old = (path: string, text?: string): string => {
  if (text === undefined) mkdirSync(path, { recursive: true });
  else writeFileSync(path, text);
  chmodSync(path, text === undefined ? 0o755 : 0o644);
  return path;
};

t.test('what is named becomes its owner’s, with all that is below it', async (t) => {
  const dir = old(join(testdir(t), 'data'));
  const store = old(join(dir, 'store'));
  const inner = old(join(store, 'generations'));
  const file = old(join(inner, '000003.log'), 'Authorization: Bearer hidden');
  const draft = old(join(dir, 'links.json.tmp'), '{}');
  t.same(makeOwnerOnly(dir, ['store', 'links.json', 'missing']), []);
  t.same([dir, store, inner].map(modeOf), ['700', '700', '700']);
  t.same([file, draft].map(modeOf), ['600', '600']);
});

t.test('a directory with something else in it stays as it is, and so does that', async (t) => {
  const dir = old(join(testdir(t), 'srv'));
  const [store, site] = [old(join(dir, 'store')), old(join(dir, 'site'))];
  const page = old(join(site, 'index.html'), 'a page');
  makeOwnerOnly(dir, ['store']);
  t.same([dir, store, site, page].map(modeOf), ['755', '700', '755', '644']);
});

t.test('no link is followed', async (t) => {
  const root = testdir(t);
  const elsewhere = old(join(root, 'elsewhere'));
  const file = old(join(elsewhere, 'file'), 'of somebody');
  const dir = old(join(root, 'data'));
  const store = old(join(dir, 'store'));
  symlinkSync(elsewhere, join(store, 'directory'));
  symlinkSync(file, join(store, 'file'));
  symlinkSync(elsewhere, join(dir, 'spool'));
  t.same(makeOwnerOnly(dir, ['store', 'spool']), []);
  t.same([elsewhere, file].map(modeOf), ['755', '644']);
  t.same(makeOwnerOnly(join(root, 'missing'), ['store']), []);
});
