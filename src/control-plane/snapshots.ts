// The catalog of the real thing: policy, holds and kinds of sidecars in, snapshots out.

import type { Identities } from '../identity/identities.ts';
import { sidecarId } from '../identity/spiffe.ts';
import type { Priorities, Wanted } from '../policy/cluster-service.ts';
import { keysOf } from '../policy/in-force.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import { policyOf } from '../policy/version.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Address } from '../wire/address.ts';
import { endpointAssignment, wantedBy } from './resources/endpoints.ts';
import { holdsLayer } from './resources/holds.ts';
import { namedResource } from './resources/proxyless.ts';
import { listenersFor, sharedResources, wherever } from './resources/resources.ts';
import { secrets } from './resources/secrets.ts';
import type { Sidecar } from './resources/sidecar.ts';
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

/** What sidecars share whom the policy does not tell apart, wherever they listen. */
interface Group {
  clusters: TypeSnapshot;
  routes: TypeSnapshot;
  kinds: number;
}

/** All that is made of a policy for one kind of sidecars. */
interface OfPolicy {
  group: Group;
  listeners: TypeSnapshot;
}

/** It gets all that is made of a destination. */
const ANY_SIDECAR: Sidecar = {
  outbound: { host: '127.0.0.1', port: 15001 },
  egress: { unix: 'egress.sock' },
  trustedCa: 'roots.pem',
  discovery: 'aggregated',
};

const NOTHING: OfPolicy = { group: { clusters: EMPTY, routes: EMPTY, kinds: 0 }, listeners: EMPTY };

/** Sidecars with one key share a group, whoever they are. */
function groupKey(policy: Policy, { app, ...sidecar }: Sidecar): string {
  const apps = policy.destinations.flatMap((destination) => {
    const keys = app && destination.rules ? keysOf(destination, app) : [];
    return keys.length > 0 ? [[destination.name, ...keys]] : [];
  });
  const beside = policy.services?.filter(({ node }) => node === app?.node).map(({ name }) => name) ?? [];
  return JSON.stringify([wherever(sidecar), apps, beside]);
}

/** What all sidecars share, and changes apart from the policy. */
interface OfAll {
  runtime: TypeSnapshot;
  endpoint: TypeSnapshot;
}

/** What sidecars have in common that say the same of themselves. */
class Kind {
  readonly sidecar: Sidecar;
  readonly #ofAll: Readonly<OfAll>;
  leases = 0;
  ofPolicy: OfPolicy = NOTHING;

  constructor(sidecar: Sidecar, ofAll: Readonly<OfAll>) {
    this.sidecar = sidecar;
    this.#ofAll = ofAll;
  }

  get(type: TypeName): TypeSnapshot {
    switch (type) {
      case 'runtime':
      case 'endpoint':
        return this.#ofAll[type];
      case 'cluster':
        return this.ofPolicy.group.clusters;
      case 'route':
        return this.ofPolicy.group.routes;
      case 'listener':
        return this.ofPolicy.listeners;
      default:
        return EMPTY;
    }
  }
}

/** Tells of each newer set of secrets until the returned function is called. */
type UseSecrets = (tell: (snapshot: TypeSnapshot) => void) => () => void;

/** One sidecar: its secrets are its own, made when it first asks for them. */
class Lease implements Served {
  readonly kind: Kind;
  readonly #use: UseSecrets | undefined;
  #secrets = EMPTY;
  #end: (() => void) | undefined;

  constructor(kind: Kind, use: UseSecrets | undefined) {
    this.kind = kind;
    this.#use = use;
  }

  get(type: TypeName): TypeSnapshot {
    if (type !== 'secret') return this.kind.get(type);
    this.#end ??= this.#use?.((snapshot) => {
      this.#secrets = snapshot;
    });
    return this.#secrets;
  }

  end(): void {
    this.#end?.();
  }
}

export class Snapshots implements Catalog {
  #xds: Xds;
  #queue: Address;
  #encoder: Encoder;
  /** Apart, or each hold would make the encoder forget the policy. */
  #holdsEncoder: Encoder;
  #endpointsEncoder: Encoder;
  #policy: Policy | undefined;
  #held = '';
  readonly #ofAll: OfAll;
  /** Sidecars that say the same of themselves are one kind. Without streams it is forgotten. */
  #kinds = new Map<string, Kind>();
  #groups = new Map<string, Group>();
  #identities: Identities | undefined;
  /** Called when a sidecar has newer secrets than it was sent. */
  onSecrets: () => void = () => {};
  /** What is known of the endpoints that the policy wants. */
  endpointsOf: (wanted: Wanted) => Priorities = () => [];

  /** Without identities there are no secrets to be had. */
  constructor(xds: Xds, queue: Address, identities?: Identities) {
    this.#xds = xds;
    this.#queue = queue;
    this.#identities = identities;
    this.#encoder = new Encoder(xds);
    this.#holdsEncoder = new Encoder(xds);
    this.#endpointsEncoder = new Encoder(xds);
    this.#ofAll = { runtime: this.#holdsEncoder.snapshot([holdsLayer([])]), endpoint: EMPTY };
  }

  /** Why Envoy's words in a destination are none; undefined: they are right, or it has none. */
  refusal(destination: Destination): string | undefined {
    if (!destination.envoy) return undefined;
    const encoder = new Encoder(this.#xds);
    const { clusters, routes } = sharedResources(
      policyOf({ destinations: [destination] }),
      ANY_SIDECAR,
      this.#queue,
    );
    try {
      for (const resource of [...clusters, ...routes]) encoder.encode(resource);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Errors: LAYBY_XDS_INVALID; the policy before stays. */
  setPolicy(policy: Policy): void {
    const groups = new Map<string, Group>();
    const next = [...this.#kinds.values()].map((kind): [Kind, OfPolicy] => [
      kind,
      this.#make(groups, policy, kind.sidecar),
    ]);
    this.#policy = policy;
    this.#groups = groups;
    for (const [kind, ofPolicy] of next) kind.ofPolicy = ofPolicy;
    this.#encoder.forget();
    this.lookAtEndpoints();
  }

  /** Those of which nothing is known are none: to say nothing of them would keep a sidecar waiting. Returns whether that is anything new. */
  lookAtEndpoints(): boolean {
    const before = this.#ofAll.endpoint;
    const wanted = this.#policy ? wantedBy(this.#policy) : new Map<string, Wanted>();
    this.#ofAll.endpoint = this.#endpointsEncoder.snapshot(
      [...wanted].map(([name, each]) => endpointAssignment(name, this.endpointsOf(each))),
    );
    this.#endpointsEncoder.forget();
    return this.#ofAll.endpoint.version !== before.version;
  }

  /** See holdsLayer. Returns whether that is anything new. */
  setHolds(held: Iterable<string>, stopped: Iterable<string> = []): boolean {
    const names = [...held].sort();
    const stops = [...stopped].sort();
    const key = JSON.stringify([names, stops]);
    if (key === this.#held) return false;
    this.#held = key;
    this.#ofAll.runtime = this.#holdsEncoder.snapshot([holdsLayer(names, stops)]);
    this.#holdsEncoder.forget();
    return true;
  }

  lease(sidecar: Sidecar, node: string): Served {
    const key = JSON.stringify(sidecar);
    let kind = this.#kinds.get(key);
    if (!kind) {
      kind = new Kind(sidecar, this.#ofAll);
      if (this.#policy) kind.ofPolicy = this.#make(this.#groups, this.#policy, sidecar);
      this.#kinds.set(key, kind);
    }
    kind.leases += 1;
    return new Lease(kind, this.#identities && this.#secretsOf(this.#identities, node));
  }

  release(served: Served): void {
    const lease = served as Lease;
    const { kind } = lease;
    lease.end();
    kind.leases -= 1;
    if (kind.leases > 0) return;
    this.#kinds.delete(JSON.stringify(kind.sidecar));
    if (!this.#policy) return;
    const { group } = kind.ofPolicy;
    group.kinds -= 1;
    if (group.kinds === 0) this.#groups.delete(groupKey(this.#policy, kind.sidecar));
  }

  #make(groups: Map<string, Group>, policy: Policy, sidecar: Sidecar): OfPolicy {
    const listeners = this.#encoder.snapshot(listenersFor(policy, sidecar), this.#byName(policy, 'listener'));
    const key = groupKey(policy, sidecar);
    let group = groups.get(key);
    if (!group) {
      group = { ...this.#share(policy, sidecar), kinds: 0 };
      groups.set(key, group);
    }
    group.kinds += 1;
    return { group, listeners };
  }

  #share(policy: Policy, sidecar: Sidecar): Omit<Group, 'kinds'> {
    const { clusters, routes } = sharedResources(policy, sidecar, this.#queue);
    return {
      clusters: this.#encoder.snapshot(clusters, this.#byName(policy, 'cluster')),
      routes: this.#encoder.snapshot(routes),
    };
  }

  /** What is served to those that name it. */
  #byName(policy: Policy, type: TypeName): (name: string) => ServedResource | undefined {
    // Names are what the policy has, so this does not grow with what clients ask for.
    const made = new Map<string, ServedResource>();
    return (name) => {
      const known = made.get(name);
      if (known) return known;
      const resource = namedResource(policy, type, name);
      if (!resource) return undefined;
      const encoded = this.#encoder.encode(resource);
      made.set(name, encoded);
      return encoded;
    };
  }

  #secretsOf(identities: Identities, node: string): UseSecrets {
    return (tell) => {
      // Who asks is being answered: the certificate that is there already needs no push.
      let asking = true;
      const end = identities.use(sidecarId(identities.trustDomain, node), (credential, roots) => {
        tell(new Encoder(this.#xds).snapshot(secrets(credential, roots)));
        if (!asking) this.onSecrets();
      });
      asking = false;
      return end;
    };
  }
}
