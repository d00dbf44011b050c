// From the objects in a cluster to a policy. A wrong object never keeps another from coming into force: its own version before stays,
// where there is one, and it is told what is wrong. Pure but for what it remembers of objects that have not changed.
//
// A destination is called as its object, whatever the namespace: who may write where is for RBAC, and entries that wait keep their lane
// when a policy moves from files into a cluster. So of two objects with one name, the older counts.

import { isDeepStrictEqual } from 'node:util';
import { checkDocument } from '../../check.ts';
import { pathText } from '../../documents.ts';
import { canonicalHost } from '../../host.ts';
import { listeningClaim } from '../../listening.ts';
import type { Destination, Policy, Service } from '../../policy.ts';
import { resolve, resolveMesh, resolveService } from '../../resolve.ts';
import { API_VERSION } from '../../schema/forms.ts';
import { MESH_KIND, type MeshDocument } from '../../schema/mesh.ts';
import { SERVICE_KIND, type ServiceDocument } from '../../schema/service.ts';
import { type DestinationDocument, KIND } from '../../schema.ts';
import { policyOf } from '../../version.ts';
import { ACCEPT_ANNOTATION } from './names.ts';

export interface PolicyObject {
  kind: string;
  metadata: {
    namespace: string;
    name: string;
    /** Empty before the API server has taken it. */
    uid: string;
    resourceVersion: string;
    generation: number;
    /** RFC 3339 */
    creationTimestamp: string;
  };
  spec: unknown;
  /** It says that deletions are to be taken as they are. */
  acceptsDeletions?: true;
}

/** Of what the API server says. The status is not kept: nothing follows from it here. */
export function policyObject(kind: string, raw: unknown): PolicyObject {
  const { metadata, spec } = raw as PolicyObject;
  const { namespace, name, uid, resourceVersion, generation, creationTimestamp } = metadata;
  const { annotations } = metadata as { annotations?: Readonly<Record<string, string>> };
  return {
    kind,
    metadata: { namespace, name, uid, resourceVersion, generation, creationTimestamp },
    spec,
    ...(kind === MESH_KIND && annotations?.[ACCEPT_ANNOTATION] === 'true' && { acceptsDeletions: true }),
  };
}

export interface Finding {
  /** `spec.hosts[1]` */
  path: string;
  message: string;
}

/** What became of an object; without findings it is in force. */
export interface Verdict {
  object: PolicyObject;
  findings: readonly Finding[];
}

/** Of which there is one at most. */
interface Mesh {
  name: string;
  hosts: readonly string[];
  passthrough?: Policy['passthrough'];
}

type Part = Destination | Service | Mesh;

interface Checked {
  generation: number;
  /** Undefined where it is wrong by itself. */
  part?: Part;
  findings: readonly Finding[];
}

const IN_CLUSTER = { inCluster: true };

const meshOf = (name: string, said: Pick<Policy, 'passthrough'> = {}): Mesh => ({ name, hosts: [], ...said });

/** `default/dashcam` */
export const keyOf = ({ metadata }: PolicyObject): string => `${metadata.namespace}/${metadata.name}`;

/** All but the one that is called as `object`. */
export const others = <Each extends PolicyObject>(all: readonly Each[], object: PolicyObject): Each[] =>
  all.filter((each) => each.kind !== object.kind || keyOf(each) !== keyOf(object));

/** Of one generation there may be several attempts. */
const attemptOf = (object: PolicyObject): PolicyObject => ({
  ...object,
  metadata: { ...object.metadata, uid: '' },
});

const titleOf = (object: PolicyObject): string => `${object.kind.toLowerCase()} ${keyOf(object)}`;

/** The older first: it has the claim. */
const byAge = (a: PolicyObject, b: PolicyObject): number => {
  const key = ({ kind, metadata }: PolicyObject) =>
    // One that is not there yet is the youngest.
    `${metadata.creationTimestamp || '9999'} ${metadata.namespace}/${metadata.name} ${kind}`;
  return key(a) < key(b) ? -1 : 1;
};

export const words = (findings: readonly Finding[]): string =>
  findings.map(({ path, message }) => `${path ? `${path}: ` : ''}${message}`).join('\n');

/** `destination default/dashcam: spec.hosts[0]: …`, a line for each. */
export const verdictText = ({ object, findings }: Verdict): string =>
  findings.map((finding) => `${titleOf(object)}: ${words([finding])}`).join('\n');

export class Objects {
  readonly #refusal: (destination: Destination) => string | undefined;
  #checked = new Map<string, Checked>();

  /** `refusal`: why nothing can be made for Envoy of a destination whose document is right; undefined: it can. */
  constructor(refusal: (destination: Destination) => string | undefined) {
    this.#refusal = refusal;
  }

  /** `inForce`: what stays of an object that is wrong now. */
  judge(
    objects: readonly PolicyObject[],
    inForce: Policy | undefined,
  ): { policy: Policy; verdicts: Verdict[] } {
    const { checked, ...judged } = this.#judge(objects, inForce);
    this.#checked = checked;
    return judged;
  }

  /** What would be wrong with `object`, which nobody has taken yet, beside these others. */
  review(
    object: PolicyObject,
    others: readonly PolicyObject[],
    inForce: Policy | undefined,
  ): readonly Finding[] {
    const attempt = attemptOf(object);
    const { verdicts } = this.#judge([...others, attempt], inForce);
    return verdicts.find((verdict) => verdict.object === attempt)?.findings ?? [];
  }

  /** The policy of these others and of `object`, which nobody has taken yet. */
  policyWith(
    object: PolicyObject | undefined,
    others: readonly PolicyObject[],
    inForce: Policy | undefined,
  ): Policy {
    return this.#judge([...others, ...(object ? [attemptOf(object)] : [])], inForce).policy;
  }

  #judge(
    objects: readonly PolicyObject[],
    inForce: Policy | undefined,
  ): { policy: Policy; verdicts: Verdict[]; checked: Map<string, Checked> } {
    const before = new Map<string, Part>();
    for (const part of inForce?.destinations ?? []) before.set(`Destination ${part.name}`, part);
    for (const part of inForce?.services ?? []) before.set(`${SERVICE_KIND} ${part.name}`, part);
    const checked = new Map<string, Checked>();
    const names = new Map<string, PolicyObject>();
    const owners = new Map<string, PolicyObject>();
    const found = new Map<PolicyObject, readonly Finding[]>();
    const chosen = new Map<PolicyObject, Part>();

    let mesh: PolicyObject | undefined;
    const claim = (object: PolicyObject, part: Part): Finding[] => {
      if (object.kind === MESH_KIND) {
        if (mesh && mesh !== object)
          return [{ path: 'kind', message: `the one object of kind Mesh is already ${titleOf(mesh)}` }];
        mesh = object;
      }
      const claims = claimsOf(object, part);
      const taken = claims.filter(({ what }) => owners.has(what));
      if (taken.length === 0) {
        for (const { what } of claims) owners.set(what, object);
        chosen.set(object, part);
      }
      return taken.map(({ path, what }) => ({
        path,
        message: `${what} is already claimed by ${titleOf(owners.get(what)!)}`,
      }));
    };

    // First what stays as it is, so that an edit elsewhere cannot take a host from it; then what is new, the older first.
    const fresh: { object: PolicyObject; part: Part; old: Part | undefined }[] = [];
    for (const object of objects.toSorted(byAge)) {
      const { name } = object.metadata;
      const owner = names.get(name);
      if (owner) {
        const message = `the name ${name} is already claimed by ${titleOf(owner)}`;
        found.set(object, [{ path: 'metadata.name', message }]);
        continue;
      }
      names.set(name, object);
      const own = this.#check(object);
      if (object.metadata.uid) checked.set(object.metadata.uid, own);
      const old = before.get(`${object.kind} ${name}`);
      const part =
        own.part ??
        old ??
        (object.kind === MESH_KIND ? meshOf(name, { passthrough: inForce?.passthrough }) : undefined);
      found.set(object, own.findings);
      if (!part) continue;
      if (old && (part === old || isDeepStrictEqual(part, old))) claim(object, old);
      else fresh.push({ object, part, old });
    }
    for (const { object, part, old } of fresh) {
      const findings = claim(object, part);
      if (findings.length === 0) continue;
      found.set(object, findings);
      if (old) claim(object, old);
    }
    const parts = <P extends Part>(wanted: string): P[] =>
      [...chosen].flatMap(([{ kind }, part]) => (kind === wanted ? [part as P] : []));
    return {
      policy: policyOf({
        destinations: parts<Destination>(KIND),
        services: parts<Service>(SERVICE_KIND),
        passthrough: parts<Mesh>(MESH_KIND)[0]?.passthrough,
      }),
      verdicts: [...found].map(([object, findings]) => ({ object, findings })),
      checked,
    };
  }

  /** The spec of one generation never changes. */
  #check(object: PolicyObject): Checked {
    const { uid, generation, name } = object.metadata;
    const known = this.#checked.get(uid);
    if (known?.generation === generation) return known;
    const document = { apiVersion: API_VERSION, kind: object.kind, metadata: { name }, spec: object.spec };
    const findings: Finding[] = checkDocument(document).map(({ path, message }) => ({
      path: pathText(path),
      message,
    }));
    if (findings.length > 0) return { generation, findings };
    if (object.kind === SERVICE_KIND)
      return {
        generation,
        findings,
        part: resolveService(document as unknown as ServiceDocument, IN_CLUSTER),
      };
    if (object.kind === MESH_KIND)
      return {
        generation,
        findings,
        part: meshOf(name, resolveMesh(document as unknown as MeshDocument)),
      };
    const part = resolve(document as unknown as DestinationDocument, IN_CLUSTER);
    const refusal = this.#refusal(part);
    return refusal === undefined
      ? { generation, findings, part }
      : { generation, findings: [{ path: 'spec.envoy', message: refusal }] };
  }
}

/** What nobody else may have. */
const claimsOf = (object: PolicyObject, part: Part): { path: string; what: string }[] => [
  ...part.hosts.map((host) => ({ path: hostPath(object, host), what: `the host ${host}` })),
  ...('node' in part ? [{ path: 'spec.address', what: listeningClaim(part) }] : []),
];

function hostPath({ spec }: PolicyObject, host: string): string {
  const { hosts } = spec as { hosts?: unknown };
  const at = Array.isArray(hosts) ? hosts.findIndex((each) => canonicalHost(String(each)) === host) : -1;
  return at < 0 ? 'spec.hosts' : `spec.hosts[${at}]`;
}
