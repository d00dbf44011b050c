// Law 8: memory does not grow with the number of entries. As `layby up` runs the queue: a small young generation, one malloc arena.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const ENTRIES = 1_000_000;
const FIXTURE = new URL('fixtures/million.ts', import.meta.url).pathname;

t.setTimeout(900_000); // 90 s on a busy machine with two cores

t.test('anonymous memory grows by less than 100 MB with 1,000,000 small entries', async (t) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--max-semi-space-size=2', FIXTURE, t.testdir(), String(ENTRIES)],
    { env: { ...process.env, MALLOC_ARENA_MAX: '1' } },
  );
  t.ok(Number(stdout) < 100, `${stdout.trim()} MiB`);
});
