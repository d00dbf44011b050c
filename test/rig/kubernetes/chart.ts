// The chart, as it is rendered and as it is installed.

import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { helm } from '../helm.ts';
import type { Cluster } from './cluster.ts';

export const CHART = fileURLToPath(new URL('../../../manifests/chart', import.meta.url));
export const NAMESPACE = 'layby-system';

export interface Container {
  name: string;
  image: string;
  args?: string[];
  env?: { name: string; value?: string }[];
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
}

export interface PodSpec {
  nodeSelector?: Record<string, string>;
  affinity?: unknown;
  serviceAccountName?: string;
  initContainers: Container[];
  containers: Container[];
}

export interface Manifest {
  kind: string;
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: unknown;
  data?: Record<string, string>;
}

export interface Workload extends Manifest {
  spec: { template: { metadata: Manifest['metadata']; spec: PodSpec } };
}

/** What Helm makes of the chart with these values. Rejects with its words. */
export const template = async (...args: string[]): Promise<Manifest[]> => {
  const text = await helm(['template', 'layby', CHART, '-n', NAMESPACE, '--kube-version', '1.36', ...args]);
  return parseAllDocuments(text)
    .map((each) => each.toJS() as Manifest | null)
    .filter((each) => each !== null);
};

export const edgePod = (manifests: Manifest[]): Workload =>
  manifests.find(({ kind }) => kind === 'DaemonSet') as Workload;

/** `helm install` or `helm upgrade`, with these values. */
export const helmOn = (cluster: Cluster, verb: 'install' | 'upgrade', ...args: string[]): Promise<string> =>
  helm([verb, 'layby', CHART, '-n', NAMESPACE, '--create-namespace', ...args], {
    KUBECONFIG: cluster.kubeconfig,
  });

/** Asks until there is an answer; it rejects after `timeout` (ms). */
export async function until<T>(ask: () => Promise<T | undefined>, timeout = 60_000): Promise<T> {
  for (const deadline = Date.now() + timeout; ; await sleep(100)) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error('it did not come to be');
  }
}
