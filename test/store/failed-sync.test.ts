// Law 1 on a disk that refuses an fsync now and then: nobody has a receipt for what such a batch held, nor for what followed it.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { all, bodyOf, sha256 } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { noStrace } from '../rig/strace.ts';
import { testdir } from '../rig/testdir.ts';

const FIXTURE = new URL('fixtures/store-on-a-bad-disk.ts', import.meta.url).pathname;
/** Of each thread, the 12th and then every 9th. */
const REFUSED = 'inject=fdatasync:error=EIO:when=12+9';

t.test('a failed fsync costs no receipt and gives none', { skip: noStrace, timeout: 120_000 }, async (t) => {
  const dir = testdir(t);
  const strace = ['-f', '-qq', '-e', 'trace=fdatasync', '-e', REFUSED, '-o', '/dev/null'];
  const { stdout } = await promisify(execFile)('strace', [...strace, process.execPath, FIXTURE, dir, '120']);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const receipts = lines.filter(([kind]) => kind === 'receipt');
  const refused = new Set(lines.filter(([kind]) => kind === 'refused').map(([, id]) => id!));
  t.ok(refused.size > 0, `${refused.size} refused, ${receipts.length} receipts`);
  t.equal(
    new Set(receipts.map(([, , seq]) => seq)).size,
    receipts.length,
    'each receipt has a number of its own',
  );

  const store = await openStore(dir, { generationBytes: 16 * 1024 * 1024 });
  t.teardown(() => store.close());
  t.same(store.report.damage, []);
  const entries = new Map((await all(store.list())).map((entry) => [entry.id, entry]));
  for (const [, id, seq, hash] of receipts) {
    const entry = entries.get(id!);
    if (!entry) t.fail(`${id} (${seq}) is lost`);
    else if (sha256(await bodyOf(store, entry)) !== hash) t.fail(`${id} (${seq}) is torn`);
  }
  // What is stored after it ends a batch that failed. Where nothing came after, it may be there, as after a crash in the moment before
  // the receipt: whoever sends it again sends it twice.
  const last = Math.max(...receipts.map(([, , seq]) => Number(seq)));
  t.same(
    [...entries.values()].filter(({ id, seq }) => refused.has(id) && seq <= last),
    [],
    'what was refused is not there once something was stored after it',
  );
});
