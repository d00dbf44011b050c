// Files of Debian packages, fetched by apt (which checks their signatures), unpacked beside the system and not into it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export interface DebianPackage {
  name: string;
  version: string;
  architecture: string;
  /** Of the package's file. */
  sha256: string;
}

/** What no program reads at run time; copyright files stay. */
const LEFT_OUT = [
  'usr/share/man',
  'usr/share/locale',
  'usr/share/info',
  'usr/share/lintian',
  'usr/share/bash-completion',
];

const output = (command: string, args: readonly string[], cwd?: string): string =>
  execFileSync(command, args, { encoding: 'utf8', ...(cwd && { cwd }), maxBuffer: 64 * 1024 * 1024 });

/** Unpacks the packages into `root`. `scratch`: where their files are kept meanwhile; `options`: of apt-get. Needs Debian's apt-get and
 *  dpkg-deb. */
export function unpackDebian(
  names: readonly string[],
  root: string,
  scratch: string,
  options: readonly string[],
): DebianPackage[] {
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  mkdirSync(root, { recursive: true });
  output('apt-get', ['-qq', ...options, 'download', ...names], scratch);
  const packages = readdirSync(scratch)
    .sort()
    .map((file) => {
      const path = join(scratch, file);
      const [name = '', version = '', architecture = ''] = ['Package', 'Version', 'Architecture'].map(
        (field) => output('dpkg-deb', ['-f', path, field]).trim(),
      );
      // Through tar, which follows links in the root: Debian's /lib is one into /usr.
      execFileSync('sh', [
        '-c',
        'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink',
        '-',
        path,
        root,
      ]);
      const sha256 = output('sha256sum', [path]).slice(0, 64);
      return { name, version, architecture, sha256 };
    });
  for (const path of LEFT_OUT) rmSync(join(root, path), { recursive: true, force: true });
  return packages;
}
