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
  spawnSync('python3', ['-c', 'import pip, sys; sys.exit(sys.version_info < (3, 11))']).status === 0
    ? false
    : 'needs python3, 3.11 or later, with pip';

/** The clients with all that they need, for Python 3.11 and later: pip is not asked what else there is. Without hashes, since those of
 *  every wheel of aiohttp and its kin are 2,500 lines. One directory for all of them. */
export const PYTHON_CLIENTS = [
  'aiohappyeyeballs==2.7.1',
  'aiohttp==3.14.5',
  'aiosignal==1.4.0',
  'anyio==4.16.0',
  'argon2-cffi==25.1.0',
  'argon2-cffi-bindings==26.2.0',
  'attrs==26.1.0',
  'boto3==1.44.5',
  'botocore==1.44.5',
  'certifi==2026.10.18',
  'cffi==2.1.1',
  'charset-normalizer==3.5.2',
  'frozenlist==1.8.0',
  'h11==0.16.0',
  'httpcore==1.0.9',
  'httpx==0.28.1',
  'idna==3.20',
  'jmespath==1.1.0',
  'minio==7.2.20',
  'multidict==7.2.1',
  'propcache==0.5.4',
  'pycparser==3.12',
  'pycryptodome==4.4.0',
  'python-dateutil==2.9.0.post0',
  'requests==2.34.2',
  's3transfer==0.19.3',
  'six==1.17.0',
  'typing-extensions==4.16.0',
  'urllib3==2.8.0',
  'yarl==1.25.1',
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

/** What a script needs in its environment to find these packages. */
export const pythonEnv = async (requirements: readonly string[]): Promise<NodeJS.ProcessEnv> => ({
  PYTHONPATH: await pythonPackages(requirements),
  PYTHONDONTWRITEBYTECODE: '1',
});

/** Runs a script with these packages and hands it `input`; resolves with what it says. */
export const python = async (
  requirements: readonly string[],
  script: string,
  input: string,
  options: { wrap?: readonly string[]; timeout?: number } = {},
): Promise<string> => {
  const { wrap = [], timeout = 120_000 } = options;
  const env = { ...process.env, ...(await pythonEnv(requirements)) };
  return run([...wrap, 'python3', script, input], { env, timeout });
};
