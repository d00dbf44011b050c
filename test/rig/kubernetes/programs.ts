// The programs of a Kubernetes control plane, built once with Go into the cache. What they are made of is pinned in programs/go.mod, and
// checked by its go.sum.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { goProgram } from '../go.ts';

const SOURCE = fileURLToPath(new URL('./programs/', import.meta.url));

const PACKAGES = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  kubectl: 'k8s.io/kubernetes/cmd/kubectl',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
} as const;

export type KubernetesProgram = keyof typeof PACKAGES;
export const KUBERNETES_PROGRAMS = Object.keys(PACKAGES) as KubernetesProgram[];

/** As programs/go.mod has it, with its `v`. */
export const KUBERNETES_VERSION = (() => {
  const version = /^\s+k8s\.io\/kubernetes (v\S+)/m.exec(readFileSync(`${SOURCE}/go.mod`, 'utf8'))?.[1];
  if (!version) throw new Error('programs/go.mod names no k8s.io/kubernetes');
  return version;
})();

// What a release build stamps: without it the server calls itself v0.0.0-master, which charts refuse.
const [major, minor] = KUBERNETES_VERSION.slice(1).split('.');
const STAMPS = Object.entries({ gitVersion: KUBERNETES_VERSION, gitMajor: major, gitMinor: minor }).map(
  ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
);

/** Its path. The first of them takes about ten minutes of two cores, the others a minute. */
export const kubernetesProgram = (name: KubernetesProgram): Promise<string> =>
  goProgram(`${name}-kubernetes-${KUBERNETES_VERSION}`, name, (directory) => [
    ...['build', '-C', SOURCE, '-trimpath', '-buildvcs=false'],
    ...['-ldflags', ['-s', '-w', ...STAMPS].join(' ')],
    ...['-o', `${directory}/${name}`, PACKAGES[name]],
  ]);
