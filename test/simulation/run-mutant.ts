// Runs the simulation on a copy of the source that has a fault.

import { execFile } from 'node:child_process';
import { cp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Mutant } from './mutants.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** What the first seed that failed has to say, of `count`; undefined: none did. `dir`: an empty directory. */
export async function runMutant(
  { changes }: Mutant,
  dir: string,
  count: number,
): Promise<string | undefined> {
  for (const part of ['src', 'test', 'proto', 'package.json'])
    await cp(join(ROOT, part), join(dir, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  for (const { file, text, by } of changes) {
    const path = join(dir, file);
    const source = await readFile(path, 'utf8');
    if (source.split(text).length !== 2) throw new Error(`${file} does not have this once: ${text}`);
    await writeFile(
      path,
      source.replace(text, () => by),
    );
  }
  try {
    await promisify(execFile)(process.execPath, [join(dir, 'test/simulation/run.ts'), '1', String(count)], {
      env: { ...process.env, LAYBY_FIRST: '1' },
      maxBuffer: 16 * 1024 * 1024,
    });
    return undefined;
  } catch (error) {
    return (error as { stdout?: string }).stdout ?? String(error);
  }
}
