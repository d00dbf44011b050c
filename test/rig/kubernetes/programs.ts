// The programs of a cluster, built once with Go into the cache, as one file that is told by its name which of them it is: linking is slow, and
// they share most of what they are made of. That is pinned in programs/go.mod, and checked by its go.sum.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { goProgram } from '../go.ts';

const SOURCE = fileURLToPath(new URL('./programs/', import.meta.url));

/** As main.go has them. */
export const KUBERNETES_PROGRAMS = [
  'etcd',
  'kube-apiserver',
  'kubectl',
  'kube-controller-manager',
  'kube-scheduler',
  'cert-manager',
] as const;
export type KubernetesProgram = (typeof KUBERNETES_PROGRAMS)[number];

/** As programs/go.mod has it, with its `v`. */
export const KUBERNETES_VERSION = (() => {
  const version = /^\s+k8s\.io\/kubernetes (v\S+)/m.exec(readFileSync(join(SOURCE, 'go.mod'), 'utf8'))?.[1];
  if (!version) throw new Error('programs/go.mod names no k8s.io/kubernetes');
  return version;
})();

/** Of all that it is built of. */
const digest = (): string => {
  const hash = createHash('sha256');
  for (const name of readdirSync(SOURCE).sort()) hash.update(readFileSync(join(SOURCE, name)));
  return hash.digest('hex').slice(0, 12);
};

// What a release build stamps: without it the server calls itself v0.0.0-master, which charts refuse.
const [major, minor] = KUBERNETES_VERSION.slice(1).split('.');
const STAMPS = Object.entries({ gitVersion: KUBERNETES_VERSION, gitMajor: major, gitMinor: minor }).map(
  ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
);

let built: Promise<string> | undefined;

async function build(): Promise<string> {
  const all = await goProgram(
    `kubernetes-${KUBERNETES_VERSION}-${digest()}`,
    'kubernetes',
    (directory) => [
      ...['build', '-C', SOURCE, '-trimpath', '-buildvcs=false'],
      ...['-ldflags', ['-s', '-w', ...STAMPS].join(' ')],
      ...['-o', `${directory}/kubernetes`, '.'],
    ],
    { CGO_ENABLED: '0' },
  );
  const names = `${all}.d`;
  await mkdir(names, { recursive: true });
  for (const name of KUBERNETES_PROGRAMS)
    await symlink(all, join(names, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  return names;
}

/** Its path. The first of them takes about seven minutes of two cores. */
export async function kubernetesProgram(name: KubernetesProgram): Promise<string> {
  built ??= build();
  return join(await built, name);
}
