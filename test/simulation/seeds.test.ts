// A few seeds of the simulation; test/slow/simulation.test.ts has many. In a process of its own: the runner's hooks would cost most of the time.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

const SEEDS = 200;

// A seed takes 0.1 s, and several times that beside other tests.
t.setTimeout(300_000);

t.test(`the laws hold in ${SEEDS} seeds of the simulation`, async (t) => {
  const said = await new Promise<{ failed: boolean; output: string }>((resolve) => {
    const program = join(import.meta.dirname, 'run.ts');
    execFile(
      process.execPath,
      [program, '1', String(SEEDS)],
      { maxBuffer: 64 * 1024 * 1024 },
      (error, output) => resolve({ failed: error !== null, output }),
    );
  });
  t.notOk(said.failed, said.output.slice(0, 10_000));
});
