// The validating webhook: what `layby policy check` would say of an object, said to kubectl before the object is there. It only spares
// the operator a round: the control plane judges everything again, so the webhook may be away. And it warns of entries that a change cuts
// off from their destination.

import type { AdmissionRequest, Reviewer } from '../../../admission/server.ts';
import { type Finding, type PolicyObject, words } from './objects.ts';

/** What is asked about, as it is among the others. */
export const objectOf = ({ kind, namespace = '' }: AdmissionRequest, said: unknown): PolicyObject => {
  const { metadata, spec } = said as Partial<PolicyObject>;
  const unborn = { uid: '', resourceVersion: '', generation: 0, creationTimestamp: '', name: '' };
  return { kind: kind.kind, spec, metadata: { ...unborn, ...metadata, namespace } };
};

/** `stranded`: warnings about stored entries, were the object like this, or (`there` false) not there any more. */
export const policyReviewer =
  (
    judge: (object: PolicyObject) => readonly Finding[],
    stranded: (object: PolicyObject, there: boolean) => readonly string[] = () => [],
  ): Reviewer =>
  (request: AdmissionRequest) => {
    const { object, oldObject } = request;
    const said = object ?? oldObject;
    if (!said) return {};
    const judged = objectOf(request, said);
    const findings = object ? judge(judged) : [];
    if (findings.length > 0)
      return { refused: `${words(findings)}\ncorrect these places; what is in force stays in force` };
    const warnings = stranded(judged, Boolean(object));
    return warnings.length > 0 ? { warnings } : {};
  };
