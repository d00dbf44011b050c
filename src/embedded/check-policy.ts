// A policy before Envoy itself: whether it takes what Layby makes of it, and where in the files it is said what it refuses.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resourcesFor } from '../control-plane/resources/resources.ts';
import { staticConfig } from '../control-plane/resources/static-config.ts';
import { envoyRefusal } from '../parts/envoy-validate.ts';
import { type PolicyFile, pathText, placeIn } from '../policy/documents.ts';
import type { Destination, EnvoyPatches } from '../policy/policy.ts';
import type { PolicyProblem } from '../policy/problem.ts';
import { policyOf } from '../policy/version.ts';
import { ASSUMED_QUEUE, assumedSidecar } from './assumed.ts';
import { trustedCa } from './bootstrap.ts';

/** Empty: Envoy takes it. Errors: LAYBY_ENVOY_SILENT. */
export async function envoyProblems(
  envoy: string,
  destinations: readonly Destination[],
  files: readonly PolicyFile[],
): Promise<PolicyProblem[]> {
  const dir = await mkdtemp(join(tmpdir(), 'layby-check-'));
  try {
    const sidecar = assumedSidecar({ node: 'layby', labels: [] }, await trustedCa(dir));
    const refusal = (some: readonly Destination[]) =>
      envoyRefusal(
        envoy,
        staticConfig(resourcesFor(policyOf({ destinations: some }), sidecar, ASSUMED_QUEUE)),
      );
    const words = await refusal(destinations);
    if (words === undefined) return [];
    const problems: PolicyProblem[] = [];
    for (const destination of destinations) {
      for (const [part, patch] of Object.entries(destination.envoy ?? {})) {
        const alone = await refusal([{ ...destination, envoy: { [part]: patch } as EnvoyPatches }]);
        if (alone === undefined) continue;
        const path = ['spec', 'envoy', part];
        const place = placeIn(files, destination.name, path) ?? { file: '', line: 1, column: 1 };
        problems.push({ ...place, path: pathText(path), message: `Envoy refuses it: ${alone}` });
      }
    }
    return problems.length > 0
      ? problems
      : [{ file: '', line: 1, column: 1, path: '', message: `Envoy refuses what comes of it: ${words}` }];
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
