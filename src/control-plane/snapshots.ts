// The catalog of the real thing: policy, holds and kinds of sidecars in, snapshots out.

import type { Policy } from '../policy/policy.ts';
import type { Address } from '../wire/address.ts';
import { holdsLayer } from './resources/holds.ts';
import { namedResource } from './resources/proxyless.ts';
import { resourcesFor, type Sidecar } from './resources/resources.ts';
import {
  type Catalog,
  EMPTY,
  Encoder,
  type Served,
  type ServedResource,
  type TypeSnapshot,
} from './snapshot.ts';
import type { TypeName } from './types.ts';
import type { Xds } from './xds/registry.ts';

type OfPolicy = ReadonlyMap<TypeName, TypeSnapshot>;

class Kind implements Served {
  readonly sidecar: Sidecar;
  readonly #holds: () => TypeSnapshot;
  streams = 0;
  ofPolicy: OfPolicy = new Map();

  constructor(sidecar: Sidecar, holds: () => TypeSnapshot) {
    this.sidecar = sidecar;
    this.#holds = holds;
  }

  get(type: TypeName): TypeSnapshot {
    return type === 'runtime' ? this.#holds() : (this.ofPolicy.get(type) ?? EMPTY);
  }
}

export class Snapshots implements Catalog {
  #queue: Address;
  #encoder: Encoder;
  /** Apart, or each hold would make the encoder forget the policy. */
  #holdsEncoder: Encoder;
  #policy: Policy | undefined;
  #held = '';
  #holds: TypeSnapshot;
  /** Sidecars that say the same of themselves are one kind. Without streams it is forgotten. */
  #kinds = new Map<string, Kind>();

  constructor(xds: Xds, queue: Address) {
    this.#queue = queue;
    this.#encoder = new Encoder(xds);
    this.#holdsEncoder = new Encoder(xds);
    this.#holds = this.#holdsEncoder.snapshot([holdsLayer([])]);
  }

  /** Errors: LAYBY_XDS_INVALID; the policy before stays. */
  setPolicy(policy: Policy): void {
    const next = [...this.#kinds.values()].map((kind) => ({
      kind,
      ofPolicy: this.#encode(policy, kind.sidecar),
    }));
    this.#policy = policy;
    for (const { kind, ofPolicy } of next) kind.ofPolicy = ofPolicy;
    this.#encoder.forget();
  }

  /** Returns whether that is anything new. */
  setHolds(held: Iterable<string>): boolean {
    const names = [...held].sort();
    const key = names.join('\0');
    if (key === this.#held) return false;
    this.#held = key;
    this.#holds = this.#holdsEncoder.snapshot([holdsLayer(names)]);
    this.#holdsEncoder.forget();
    return true;
  }

  lease(sidecar: Sidecar): Served {
    const key = JSON.stringify(sidecar);
    let kind = this.#kinds.get(key);
    if (!kind) {
      kind = new Kind(sidecar, () => this.#holds);
      if (this.#policy) kind.ofPolicy = this.#encode(this.#policy, sidecar);
      this.#kinds.set(key, kind);
    }
    kind.streams += 1;
    return kind;
  }

  release(served: Served): void {
    const kind = served as Kind;
    kind.streams -= 1;
    if (kind.streams === 0) this.#kinds.delete(JSON.stringify(kind.sidecar));
  }

  #encode(policy: Policy, sidecar: Sidecar): OfPolicy {
    const { clusters, listeners, routes } = resourcesFor(policy, sidecar, this.#queue);
    const named = (type: TypeName) => {
      // Names are what the policy has, so this does not grow with what clients ask for.
      const made = new Map<string, ServedResource>();
      return (name: string) => {
        const known = made.get(name);
        if (known) return known;
        const resource = namedResource(policy, type, name);
        if (!resource) return undefined;
        const encoded = this.#encoder.encode(resource);
        made.set(name, encoded);
        return encoded;
      };
    };
    return new Map<TypeName, TypeSnapshot>([
      ['cluster', this.#encoder.snapshot(clusters, named('cluster'))],
      ['listener', this.#encoder.snapshot(listeners, named('listener'))],
      ['route', this.#encoder.snapshot(routes)],
    ]);
  }
}
