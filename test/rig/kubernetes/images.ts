// The images of the chart, built and unpacked, and what runs in them: each container with only its image to see, as the user and with the
// arguments that a pod says. No Docker.

import { spawnSync } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../run.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** For a test's `skip`. */
export const noImages: string | false =
  process.getuid?.() !== 0
    ? 'a root of its own needs root'
    : spawnSync('dpkg-deb', ['--version']).status !== 0 && 'images are built of Debian packages';

export interface Images {
  /** Where the tar files are. */
  built: string;
  /** By name, what is in it. */
  roots: ReadonlyMap<string, string>;
}

/** Below `dir`; takes about 20 s. */
export async function buildImages(dir: string): Promise<Images> {
  const built = join(dir, 'built');
  // tap has every Node below it load a hook, however the environment is given; tsc does not bear it.
  const build = ['env', '-u', 'NODE_OPTIONS', process.execPath, join(ROOT, 'scripts/build-images.ts')];
  await run([...build, '--out', built], { timeout: 600_000 });
  const roots = new Map<string, string>();
  for (const name of ['layby', 'layby-envoy']) {
    const root = join(dir, name);
    await mkdir(root);
    const unpacked = join(dir, `${name}.oci`);
    await mkdir(unpacked);
    await run(['tar', '-xf', join(built, `${name}.tar`), '-C', unpacked]);
    const [manifest] = JSON.parse(await readFile(join(unpacked, 'manifest.json'), 'utf8'));
    for (const layer of manifest.Layers)
      await run(['tar', '-xzf', join(unpacked, layer), '-C', root, '--keep-directory-symlink']);
    roots.set(name, root);
  }
  return { built, roots };
}

export interface InRoot {
  /** Of an image. */
  root: string;
  /** What is mounted where. */
  binds: readonly (readonly [from: string, to: string])[];
  env: Readonly<Record<string, string>>;
  /** User and group; default: the images' own. */
  uid?: number;
}

/** The command line that runs `argv` in a mount namespace of its own, where the root can only be read. */
export function inRoot({ root, binds, env, uid = 1337 }: InRoot, argv: readonly string[]): string[] {
  const all = [['/dev', '/dev'], ['/proc', '/proc'], ...binds];
  const mounts = all
    .map(
      ([from, to]) =>
        `[ -d ${from} ] && mkdir -p ${root}${to} || { mkdir -p $(dirname ${root}${to}); touch ${root}${to}; }; mount --bind ${from} ${root}${to};`,
    )
    .join(' ');
  const script = `mount --bind ${root} ${root}; ${mounts} mount -o remount,ro,bind ${root}; shift; exec chroot --userspec=${uid}:${uid} ${root} "$@"`;
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return [
    ...['env', '-i', 'PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin', ...set],
    ...['unshare', '-m', 'sh', '-euc', script, '-', '-'],
    ...argv,
  ];
}
