// What strace wrote is read right, also where the lines of two threads are mixed.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { callsIn, noStrace, parseStrace, straceOf } from './strace.ts';
import { testdir } from './testdir.ts';

t.test('calls of two threads are put together from mixed lines', async (t) => {
  const calls = parseStrace([
    '10 1700000000.000001 fdatasync(7</data/1.log> <unfinished ...>',
    '11 1700000000.000002 write(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "a = 1) <x>", 10) = 10',
    '12 1700000000.000003 openat(AT_FDCWD</>, "/no", O_RDONLY) = -1 ENOENT (No such file or directory)',
    '10 1700000000.000004 <... fdatasync resumed>) = 0',
    '11 1700000000.000005 --- SIGCHLD {si_signo=SIGCHLD} ---',
    '13 1700000000.000006 openat(AT_FDCWD</>, "/yes", O_RDONLY) = 3</yes>',
    '14 1700000000.000007 fsync(3</yes> <unfinished ...>',
    '14 1700000000.000008 +++ killed by SIGKILL +++',
  ]);
  t.same(
    calls.map(({ name, pid, result, error, entered, returned }) => [
      name,
      pid,
      result,
      error,
      entered,
      returned,
    ]),
    [
      ['fdatasync', 10, 0, undefined, 1, 4],
      ['write', 11, 10, undefined, 2, 2],
      ['openat', 12, -1, 'ENOENT', 3, 3],
      ['openat', 13, 3, undefined, 6, 6],
      ['fsync', 14, undefined, undefined, 7, Number.POSITIVE_INFINITY],
    ],
  );
  t.equal(calls[0]!.args, '7</data/1.log>');
  t.equal(calls[1]!.args, '9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "a = 1) <x>", 10');
});

t.test('the order of a real program is seen', { skip: noStrace }, async (t) => {
  const dir = testdir(t);
  const out = join(dir, 'trace');
  const file = join(dir, 'log');
  // The sync runs in a thread of libuv's pool, the write in the main thread.
  const script = `const fs = require('node:fs'); const fd = fs.openSync(${JSON.stringify(file)}, 'w');
    fs.write(fd, 'entry', () => fs.fdatasync(fd, () => fs.writeSync(1, 'receipt')));`;
  const argv = [
    ...straceOf({ calls: ['write', 'pwrite64', 'fdatasync'], out }),
    process.execPath,
    '-e',
    script,
  ];
  await promisify(execFile)(argv[0]!, argv.slice(1));
  const calls = await callsIn(out);
  const find = (name: RegExp, words: string) =>
    calls.find((call) => name.test(call.name) && call.args.includes(words))!;
  const entry = find(/write/, '"entry"');
  const sync = find(/^fdatasync$/, file);
  const receipt = find(/write/, '"receipt"');
  t.equal(sync.result, 0);
  t.ok(entry.returned < sync.entered, 'the entry before the sync');
  t.ok(sync.returned < receipt.entered, 'the sync before the receipt');
  t.not(sync.pid, receipt.pid);
});
