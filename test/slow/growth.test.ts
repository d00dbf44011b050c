// Law 8: memory does not grow with what is stored, neither with the number of entries nor with the bytes of their bodies. As
// `layby up` runs the queue. LAYBY_BODIES says how much is stored in bodies, like 20GiB; it must fit on the disk of the test.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { LEAN } from '../../src/embedded/lean.ts';
import { parseSize } from '../../src/policy/units.ts';
import { testdir } from '../rig/testdir.ts';

const FIXTURE = new URL('fixtures/growth.ts', import.meta.url).pathname;
const BODY = 64 * 1024 * 1024;
const BODIES = process.env.LAYBY_BODIES ?? '2GiB';
/** MB */
const BOUND = 100;

t.setTimeout(1_200_000); // a million entries: 90 s on a busy machine with two cores

const growth = async (dir: string, entries: number, bytes: number, atOnce: number): Promise<number> => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...LEAN.flags, FIXTURE, dir, ...[entries, bytes, atOnce].map(String)],
    { env: { ...process.env, ...LEAN.env } },
  );
  return Number(stdout);
};

t.test('anonymous memory grows by less than 100 MB with 1,000,000 small entries', async (t) => {
  const grown = await growth(testdir(t), 1_000_000, 200, 250);
  t.ok(grown < BOUND, `${grown} MB`);
});

t.test(`anonymous memory grows by less than 100 MB with ${BODIES} of bodies`, async (t) => {
  const grown = await growth(testdir(t), Math.ceil(parseSize(BODIES) / BODY), BODY, 8);
  t.ok(grown < BOUND, `${grown} MB`);
});
