// Python programs with packages of exactly these versions, brought by the machine's own pip and kept in the cache of the parts: the
// clients that apps in Python use. A directory for PYTHONPATH and not a venv, since that can be moved into its place whole.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { partsDir, publish } from '../../../src/parts/cache.ts';
import { runPython } from '../../../src/parts/python.ts';
import { run } from '../run.ts';

/** For a test's `skip`: why there can be no Python client here, or false. */
export const noPython: string | false =
  spawnSync('python3', ['-m', 'pip', '--version']).status === 0 ? false : 'needs python3 with pip';

/** With all that they need: pip is not asked what else there is. */
export const BOTO3 = [
  'boto3==1.44.5',
  'botocore==1.44.5',
  'jmespath==1.1.0',
  'python-dateutil==2.9.0.post0',
  's3transfer==0.19.3',
  'six==1.17.0',
  'urllib3==2.8.0',
];

/** The last file that is written, so it says that all is there. */
const DONE = 'requirements.txt';

/** The directory that has these packages (`name==version`), fetched once. Rejects with pip's words. */
export const pythonPackages = async (requirements: readonly string[]): Promise<string> => {
  const text = `${[...requirements].sort().join('\n')}\n`;
  const target = join(partsDir(), `python-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`);
  const there = await access(join(target, DONE)).then(
    () => true,
    () => false,
  );
  if (there) return target;
  await publish(target, DONE, async (directory) => {
    const { code, stderr } = await runPython([
      ...[
        '-m',
        'pip',
        'install',
        '--no-deps',
        '--no-input',
        '--disable-pip-version-check',
        '--progress-bar=off',
      ],
      ...['--only-binary=:all:', '--target', directory, ...requirements],
    ]);
    if (code !== 0) throw new Error(`pip could not install ${requirements.join(' ')}: ${stderr.trim()}`);
    await writeFile(join(directory, DONE), text);
  });
  return target;
};

/** Runs a script with these packages and hands it `input`; resolves with what it says. */
export const python = async (
  requirements: readonly string[],
  script: string,
  input: string,
  options: { wrap?: readonly string[]; timeout?: number } = {},
): Promise<string> => {
  const env = {
    ...process.env,
    PYTHONPATH: await pythonPackages(requirements),
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const { wrap = [], timeout = 120_000 } = options;
  return run([...wrap, 'python3', script, input], { env, timeout });
};
