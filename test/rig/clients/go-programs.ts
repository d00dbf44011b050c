// The clients in Go, from go/, each kept under the hash of its source.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { goProgram } from '../go.ts';

const SOURCE = fileURLToPath(new URL('go', import.meta.url));

const build = async (name: string): Promise<string> => {
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', `${name}/main.go`]) hash.update(await readFile(join(SOURCE, file)));
  const kept = `client-${name}-${hash.digest('hex').slice(0, 16)}`;
  return goProgram(kept, name, (directory) => ['build', '-C', SOURCE, '-o', directory, `./${name}`]);
};

const builds = new Map<string, Promise<string>>();

/** The path of `go/<name>`, built. Rejects with the compiler's words. */
export const goClient = (name: 'upload' | 'minio'): Promise<string> => {
  const building = builds.get(name) ?? build(name);
  builds.set(name, building);
  return building;
};
