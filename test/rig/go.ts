// Programs in Go, built once and kept in the cache.

import { spawnSync } from 'node:child_process';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { partsDir } from '../../src/parts/cache.ts';
import { run } from './run.ts';

/** For a test's `skip`: why nothing can be built here, or false. */
export const noGo: string | false = spawnSync('go', ['version']).status === 0 ? false : 'needs Go';

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The path of `name`, built (minutes) with `go ARGS` where the cache does not have it; what is built must come to be `program` in the
 *  directory, which is GOBIN too. `name` must say the version. Rejects with the compiler's words. */
export const goProgram = async (
  name: string,
  program: string,
  argsFor: (directory: string) => readonly string[],
  env: Record<string, string> = {},
): Promise<string> => {
  const bin = join(partsDir(), '..', 'go', 'bin');
  const kept = join(bin, name);
  if (await exists(kept)) return kept;
  await mkdir(bin, { recursive: true });
  const fresh = await mkdtemp(join(bin, '.building-'));
  try {
    await run(['go', ...argsFor(fresh)], {
      env: { ...process.env, ...env, GOBIN: fresh },
      timeout: 60 * 60_000,
    });
    // By rename, so that a run beside this one finds all of it or nothing.
    await rename(join(fresh, program), kept);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return kept;
};
