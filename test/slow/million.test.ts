// Law 8: memory does not grow with the number of entries. As `layby up` runs the queue.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { LEAN } from '../../src/embedded/lean.ts';

const ENTRIES = 1_000_000;
const FIXTURE = new URL('fixtures/million.ts', import.meta.url).pathname;

t.setTimeout(900_000); // 90 s on a busy machine with two cores

t.test('anonymous memory grows by less than 100 MB with 1,000,000 small entries', async (t) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...LEAN.flags, FIXTURE, t.testdir(), String(ENTRIES)],
    { env: { ...process.env, ...LEAN.env } },
  );
  t.ok(Number(stdout) < 100, `${stdout.trim()} MiB`);
});
