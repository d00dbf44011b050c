// What is served: resources encoded once, with content hashes for versions, their bytes shared by every stream.

import { createHash } from 'node:crypto';
import type { Policy } from '../policy/policy.ts';
import type { Address } from '../wire/address.ts';
import { holdsLayer } from './resources/holds.ts';
import type { Resource } from './resources/resource.ts';
import { resourcesFor, type Sidecar } from './resources/resources.ts';
import type { TypeName } from './types.ts';
import type { Xds } from './xds/registry.ts';

/** google.protobuf.Any, as @grpc/proto-loader wants it. */
export interface Any {
  type_url: string;
  value: Buffer;
}

export interface TypeSnapshot {
  /** Hash of the content: equal content has an equal version, whichever control plane serves it. */
  version: string;
  resources: ReadonlyMap<string, Any>;
}

const EMPTY: TypeSnapshot = { version: 'empty', resources: new Map() };

/** Errors: LAYBY_XDS_INVALID, naming the resource and the field. */
export function encodeSnapshot(xds: Xds, resources: Resource[]): TypeSnapshot {
  const hash = createHash('sha256');
  const encoded = new Map<string, Any>();
  for (const resource of resources) {
    const any = xds.any(resource);
    const value = Buffer.from(any.value);
    hash.update(resource.name).update('\0').update(value);
    encoded.set(resource.name, { type_url: any.type_url, value });
  }
  return { version: hash.digest('hex').slice(0, 16), resources: encoded };
}

/** Current snapshots for every kind of sidecar. */
export class Snapshots {
  #xds: Xds;
  #queue: Address;
  #policy: Policy | undefined;
  #holds: TypeSnapshot;
  /** Sidecars that say the same of themselves share one set. */
  #bySidecar = new Map<string, Map<TypeName, TypeSnapshot>>();

  constructor(xds: Xds, queue: Address) {
    this.#xds = xds;
    this.#queue = queue;
    this.#holds = encodeSnapshot(xds, [holdsLayer([])]);
  }

  /** Errors: LAYBY_XDS_INVALID; the policy before stays. */
  setPolicy(policy: Policy): void {
    const before = { policy: this.#policy, bySidecar: this.#bySidecar };
    this.#policy = policy;
    this.#bySidecar = new Map();
    try {
      for (const key of before.bySidecar.keys()) this.#encode(key, JSON.parse(key) as Sidecar);
    } catch (error) {
      this.#policy = before.policy;
      this.#bySidecar = before.bySidecar;
      throw error;
    }
  }

  setHolds(held: Iterable<string>): void {
    this.#holds = encodeSnapshot(this.#xds, [holdsLayer(held)]);
  }

  get(type: TypeName, sidecar: Sidecar): TypeSnapshot {
    if (type === 'runtime') return this.#holds;
    const key = JSON.stringify(sidecar);
    return (this.#bySidecar.get(key) ?? this.#encode(key, sidecar)).get(type) ?? EMPTY;
  }

  #encode(key: string, sidecar: Sidecar): Map<TypeName, TypeSnapshot> {
    if (!this.#policy) return new Map();
    const { clusters, listeners, routes } = resourcesFor(this.#policy, sidecar, this.#queue);
    const types = new Map<TypeName, TypeSnapshot>([
      ['cluster', encodeSnapshot(this.#xds, clusters)],
      ['listener', encodeSnapshot(this.#xds, listeners)],
      ['route', encodeSnapshot(this.#xds, routes)],
    ]);
    this.#bySidecar.set(key, types);
    return types;
  }
}
