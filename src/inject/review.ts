// The mutating webhook: a pod that is to be made gets its sidecar.

import type { AdmissionRequest, Verdict } from '../admission/server.ts';
import { LaybyError } from '../telemetry/error.ts';
import { injectPod, patchOf } from './pod.ts';
import type { Pod } from './pod-object.ts';
import type { InjectSettings } from './settings.ts';

/** Which pods are asked about, the configuration of the webhook says (manifests/chart). */
export const injectReviewer =
  (settings: InjectSettings) =>
  ({ object, namespace = 'default' }: AdmissionRequest): Verdict => {
    // Of a deletion there is none.
    if (!object) return {};
    const pod = object as Pod;
    try {
      const result = injectPod(pod, namespace, settings);
      if (result.without) return { warnings: [`layby: the pod gets no sidecar: ${result.without}`] };
      return { patch: patchOf(pod, result.pod) };
    } catch (error) {
      if (error instanceof LaybyError) return { refused: `layby: ${error.line}` };
      throw error;
    }
  };
