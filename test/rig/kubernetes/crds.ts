// The custom resources of the policy, installed from the repository's own manifests.

import { fileURLToPath } from 'node:url';
import type { Cluster } from './cluster.ts';

const CRDS = fileURLToPath(new URL('../../../manifests/crds/', import.meta.url));

/** Resolves when the API server serves them. */
export const installCrds = async (cluster: Cluster): Promise<void> => {
  await cluster.kubectl(['apply', '-f', CRDS]);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s']);
};
