// The laws under 10,000 seeds of the simulation, and the faults that it must find. A seed that fails is printed with what runs it again.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { MUTANTS } from '../simulation/mutants.ts';
import { runMutant } from '../simulation/run-mutant.ts';

const SEEDS = Number(process.env.LAYBY_SEEDS ?? 10_000);
const FIRST = Number(process.env.LAYBY_SEED ?? 1);
const PROCESSES = 2;
/** Seeds in which each fault must be found. */
const FOUND_WITHIN = 400;

const run = (first: number, count: number, step: number): Promise<{ failed: boolean; said: string }> =>
  new Promise((resolve) => {
    const program = join(import.meta.dirname, '../simulation/run.ts');
    const args = [program, ...[first, count, step].map(String)];
    execFile(process.execPath, args, { maxBuffer: 64 * 1024 * 1024 }, (error, said) =>
      resolve({ failed: error !== null, said }),
    );
  });

t.test(`the laws hold in ${SEEDS} seeds`, { timeout: 1_200_000 }, async (t) => {
  const began = performance.now();
  const all = await Promise.all(
    Array.from({ length: PROCESSES }, (_, n) => run(FIRST + n, Math.ceil(SEEDS / PROCESSES), PROCESSES)),
  );
  for (const { failed, said } of all) t.notOk(failed, said.slice(0, 10_000));
  t.comment(
    `${((performance.now() - began) / 1_000).toFixed(0)} s: ${all.map(({ said }) => said.trim().split('\n').at(-1)).join(' ')}`,
  );
});

for (const [n, mutant] of MUTANTS.entries())
  t.test(`the simulation finds that ${mutant.fault}`, { timeout: 300_000 }, async (t) => {
    const said = await runMutant(mutant, join(testdir(t), String(n)), FOUND_WITHIN);
    t.type(said, 'string', `not found in ${FOUND_WITHIN} seeds`);
    t.match(said, /seed \d+ failed/);
    t.comment(said?.split('\n').slice(0, 2).join(' '));
  });
