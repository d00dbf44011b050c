// The validating webhook: what `layby policy check` would say of an object, said to kubectl before the object is there. It only spares
// the operator a round: the control plane judges everything again, so the webhook may be away.

import type { AdmissionRequest, Reviewer } from '../../../admission/server.ts';
import { type Finding, type PolicyObject, words } from './objects.ts';

export const policyReviewer =
  (judge: (object: PolicyObject) => readonly Finding[]): Reviewer =>
  ({ kind, namespace = '', object }: AdmissionRequest) => {
    if (!object) return {};
    const { metadata, spec } = object as Partial<PolicyObject>;
    const unborn = { uid: '', resourceVersion: '', generation: 0, creationTimestamp: '', name: '' };
    const findings = judge({ kind: kind.kind, spec, metadata: { ...unborn, ...metadata, namespace } });
    if (findings.length === 0) return {};
    return { refused: `${words(findings)}\ncorrect these places; what is in force stays in force` };
  };
