// Deletions that look like an accident: all objects of a kind at once, or most of them within half a minute (`kubectl delete --all`, a deleted
// CRD, a GitOps tool that prunes). What is deleted so stays in force until it is there again or an operator accepts the deletion.
// Pure: time comes in as an argument.

import { listeningClaim } from '../../listening.ts';
import type { Destination, Policy, Service } from '../../policy.ts';
import { MESH_KIND } from '../../schema/mesh.ts';
import { SERVICE_KIND } from '../../schema/service.ts';
import { KIND } from '../../schema.ts';
import { policyOf } from '../../version.ts';
import type { HeldKind } from './report.ts';

/** A deletion takes effect when no other has followed it for so long, ms: `kubectl delete --all` deletes one object after another. */
export const SETTLING_MS = 2_000;
/** Deletions within this time count together, ms. */
export const WINDOW_MS = 30_000;
/** Fewer than this are an accident only where nothing of the kind is left. */
const FEWEST = 3;

/** A part of the policy, as far as it can vanish. */
interface Part {
  /** `Destination dashcam`; of the mesh-wide settings: `Mesh` */
  key: string;
  kind: string;
  name: string;
  /** Hosts, and where a service listens. */
  claims: readonly string[];
}

/** `kind` of Mesh: there is one at most, whatever its name. */
export const keyOfPart = (kind: string, name: string): string =>
  kind === MESH_KIND ? MESH_KIND : `${kind} ${name}`;

const partsIn = ({ destinations, services = [], passthrough }: Policy): Part[] => [
  ...destinations.map(({ name, hosts }) => ({ key: keyOfPart(KIND, name), kind: KIND, name, claims: hosts })),
  ...services.map((service) => ({
    key: keyOfPart(SERVICE_KIND, service.name),
    kind: SERVICE_KIND,
    name: service.name,
    claims: [...service.hosts, listeningClaim(service)],
  })),
  // `deny` is what holds without such an object.
  ...(passthrough === 'allow' ? [{ key: MESH_KIND, kind: MESH_KIND, name: '', claims: [] }] : []),
];

export interface Look {
  /** Undefined: there was none. */
  inForce: Policy | undefined;
  /** Of the objects that the cluster has. */
  policy: Policy;
  /** The keys of all these objects, right or wrong. */
  there: ReadonlySet<string>;
  /** An operator accepts deletions. */
  accepted: boolean;
  /** ms, of a clock that only goes forward */
  now: number;
}

export interface Kept {
  /** With what has vanished and stays. */
  policy: Policy;
  /** When to look again, ms from now; undefined: when something has changed. */
  again: number | undefined;
}

export class Vanished {
  readonly #held: Set<string>;
  /** Keys of what is gone and not held, and since when there is no other. */
  #settling: { keys: string; since: number } = { keys: '', since: 0 };
  /** Deletions that took effect lately, by key. */
  readonly #recent = new Map<string, { kind: string; at: number }>();

  /** `held`: keys, from before a restart. */
  constructor(held: Iterable<string> = []) {
    this.#held = new Set(held);
  }

  /** Keys of what stays in force until it is there again or its deletion is accepted, sorted. */
  get held(): string[] {
    return [...this.#held].sort();
  }

  look({ inForce, policy, there, accepted, now }: Look): Kept {
    const parts = inForce ? partsIn(inForce) : [];
    const isTaken = takenIn(policy);
    // What another object has taken over (a renamed one) is not missing.
    const missing = parts.filter((part) => !there.has(part.key) && !isTaken(part));
    const keys = new Set(missing.map(({ key }) => key));
    for (const key of this.#held) if (accepted || !keys.has(key)) this.#held.delete(key);
    for (const [key, { at }] of this.#recent)
      if (there.has(key) || now - at >= WINDOW_MS) this.#recent.delete(key);
    if (accepted) return { policy, again: undefined };

    for (const kind of new Set(missing.map((part) => part.kind))) {
      const gone = missing.filter((part) => part.kind === kind);
      const recent = [...this.#recent].filter(([key, each]) => each.kind === kind && !keys.has(key)).length;
      const before = parts.filter((part) => part.kind === kind).length + recent;
      const all = gone.length + recent;
      const none = ![...there].some((key) => key === kind || key.startsWith(`${kind} `));
      if (none || (all >= FEWEST && all * 2 > before)) for (const { key } of gone) this.#held.add(key);
    }

    const loose = missing.filter(({ key }) => !this.#held.has(key));
    const loosely = loose.map(({ key }) => key).join('\n');
    if (loosely !== this.#settling.keys) this.#settling = { keys: loosely, since: now };
    const left = this.#settling.since + SETTLING_MS - now;
    const settled = loose.length > 0 && left <= 0;
    if (settled) for (const { key, kind } of loose) this.#recent.set(key, { kind, at: now });
    const kept = settled ? missing.filter(({ key }) => this.#held.has(key)) : missing;
    return {
      policy: inForce ? withParts(policy, inForce, new Set(kept.map(({ key }) => key))) : policy,
      again: loose.length > 0 && !settled ? left : undefined,
    };
  }
}

/** Whether another part has the name, a host or the address of this one. */
function takenIn(policy: Policy): (part: Part) => boolean {
  const parts = partsIn(policy);
  const names = new Set(parts.map(({ name }) => name));
  const claims = new Set(parts.flatMap((part) => part.claims));
  return ({ kind, name, claims: own }) =>
    kind !== MESH_KIND && (names.has(name) || own.some((claim) => claims.has(claim)));
}

function withParts(policy: Policy, inForce: Policy, keys: ReadonlySet<string>): Policy {
  if (keys.size === 0) return policy;
  const keep = <Each extends Destination | Service>(kind: string, all: readonly Each[] = []): Each[] =>
    all.filter(({ name }) => keys.has(keyOfPart(kind, name)));
  return policyOf({
    destinations: [...policy.destinations, ...keep(KIND, inForce.destinations)],
    services: [...(policy.services ?? []), ...keep(SERVICE_KIND, inForce.services)],
    passthrough: keys.has(MESH_KIND) ? inForce.passthrough : policy.passthrough,
  });
}

const NAMED = 8;

/** By kind, with the first few names. */
export const heldOf = (keys: readonly string[]): HeldKind[] => [
  ...[KIND, SERVICE_KIND].flatMap((kind) => {
    const names = keys.filter((key) => key.startsWith(`${kind} `)).map((key) => key.slice(kind.length + 1));
    return names.length > 0 ? [{ kind, count: names.length, names: names.slice(0, NAMED) }] : [];
  }),
  ...(keys.includes(MESH_KIND) ? [{ kind: MESH_KIND, count: 1 }] : []),
];

const textOf = ({ kind, count, names = [] }: HeldKind): string => {
  if (kind === MESH_KIND) return 'the object of kind Mesh';
  const more = count > names.length ? `, and ${count - names.length} more` : '';
  return `${count} ${kind.toLowerCase()}${count === 1 ? '' : 's'} (${names.join(', ')}${more})`;
};

/** `3 destinations (a, b, c) and the object of kind Mesh` */
export const heldText = (held: readonly HeldKind[]): string => held.map(textOf).join(' and ');
