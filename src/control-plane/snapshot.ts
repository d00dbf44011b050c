// What is served: each resource encoded once, with a hash of its content for a version, its bytes shared by all snapshots and
// streams. How a transport serves it, and what one client has seen of it, is for server/.

import { hash } from 'node:crypto';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Resource } from './resources/resource.ts';
import type { Sidecar } from './resources/sidecar.ts';
import type { TypeName } from './types.ts';
import type { Json, WireAny, Xds } from './xds/registry.ts';

export interface ServedResource {
  name: string;
  /** Hash of the content: equal content has an equal version, whichever control plane serves it. */
  version: string;
  any: WireAny;
  /** A cluster whose endpoints come by EDS: the name of its assignment. A changed cluster warms until it gets that again. */
  assignment?: string;
}

export type ServedResources = ReadonlyMap<string, ServedResource>;

/** All of one type, at one moment. Never changed. */
export interface TypeSnapshot {
  /** Of `resources` as a whole. */
  version: string;
  /** What a subscription to everything gets. */
  resources: ServedResources;
  /** By its name; also what is served only to those that name it. */
  find(name: string): ServedResource | undefined;
}

/** What one sidecar is served. It is looked up once for a stream, and stays the same object while its content changes. */
export interface Served {
  get(type: TypeName): TypeSnapshot;
}

/** The door between what is served and the transports. */
export interface Catalog {
  /** `node`: its id. Errors: LAYBY_XDS_INVALID. */
  lease(sidecar: Sidecar, node: string): Served;
  /** Each lease is given back once. */
  release(served: Served): void;
}

/** Equal resources have equal versions, whatever their order. */
export function versionOf(resources: ReadonlyMap<string, { version: string }>): string {
  const lines = [...resources].map(([name, { version }]) => `${name}\0${version}`);
  return shortHash(lines.sort().join('\n'));
}

const shortHash = (content: string | Uint8Array): string => hash('sha256', content).slice(0, 16);

const NOTHING_MORE = () => undefined;

/** `more`: what is served only by name. */
export function typeSnapshot(
  resources: ServedResources,
  more: (name: string) => ServedResource | undefined = NOTHING_MORE,
): TypeSnapshot {
  return {
    version: versionOf(resources),
    resources,
    find: (name) => resources.get(name) ?? more(name),
  };
}

export const EMPTY: TypeSnapshot = typeSnapshot(new Map());

/** What was made of a text, remembered for as long as it is used. */
class Memory<Made> {
  #seen = new Map<string, Made>();
  #used = new Map<string, Made>();

  get(json: string, make: () => Made): Made {
    const made = this.#used.get(json) ?? this.#seen.get(json) ?? make();
    this.#used.set(json, made);
    return made;
  }

  /** Forgets what was not asked for since the last call. */
  forget(): void {
    this.#seen = this.#used;
    this.#used = new Map();
  }
}

/** The parts that are most of a resource: its field, in JSON and in protobuf, and their type. */
const PARTS = { field: 'virtual_hosts', number: 2, type: 'envoy.config.route.v3.VirtualHost' };

/** Encodes what it has not seen lately: of a policy's edit only what is new, and of a route configuration only the virtual hosts that
 *  are. */
export class Encoder {
  #xds: Xds;
  #resources = new Memory<ServedResource>();
  #parts = new Memory<Buffer>();

  constructor(xds: Xds) {
    this.#xds = xds;
  }

  /** Errors: LAYBY_XDS_INVALID, naming the resource and the field. */
  encode(resource: Resource): ServedResource {
    return this.#resources.get(JSON.stringify(resource), () => this.#make(resource));
  }

  /** Errors: LAYBY_XDS_INVALID, naming the resource and the field. */
  snapshot(resources: Resource[], more?: (name: string) => ServedResource | undefined): TypeSnapshot {
    return typeSnapshot(new Map(resources.map((each) => [each.name, this.encode(each)])), more);
  }

  /** Forgets what was not encoded since the last call. */
  forget(): void {
    this.#resources.forget();
    this.#parts.forget();
  }

  #make(resource: Resource): ServedResource {
    // An assignment is known by the name of its cluster, which its message has no `name` beside.
    const { name, ...fields } = resource;
    const any = this.#any('cluster_name' in resource ? (fields as Resource) : resource);
    return { name, version: shortHash(any.value), any, ...assignmentOf(resource) };
  }

  /** A message is its fields one after the other, in whatever order: so those that repeat may be encoded each for itself. */
  #any(resource: Resource): WireAny {
    const { [PARTS.field]: parts, ...rest } = resource;
    if (!Array.isArray(parts)) return this.#xds.any(resource);
    try {
      const whole = this.#xds.any(rest as Resource);
      const writer = new BinaryWriter().raw(whole.value);
      for (const part of parts as Json[])
        writer.tag(PARTS.number, WireType.LengthDelimited).bytes(this.#part(part));
      return { ...whole, value: Buffer.from(writer.finish()) };
    } catch {
      // As a whole it says where.
      return this.#xds.any(resource);
    }
  }

  #part(json: Json): Buffer {
    return this.#parts.get(JSON.stringify(json), () => this.#xds.encode(PARTS.type, json));
  }
}

function assignmentOf(cluster: Resource): { assignment?: string } {
  if (cluster.type !== 'EDS') return {};
  const { service_name: service } = (cluster.eds_cluster_config ?? {}) as { service_name?: string };
  return { assignment: service || cluster.name };
}

export interface Difference {
  changed: readonly ServedResource[];
  removed: readonly string[];
}

/** Made once for each pair: a thousand clients that have the same and get the same share it. */
const differences = new WeakMap<object, WeakMap<object, Difference>>();

/** What leads from one set to the other. */
export function difference(from: ReadonlyMap<string, { version: string }>, to: ServedResources): Difference {
  const known = differences.get(from) ?? new WeakMap<object, Difference>();
  differences.set(from, known);
  let made = known.get(to);
  if (!made) {
    made = {
      changed: [...to.values()].filter(({ name, version }) => from.get(name)?.version !== version),
      removed: [...from.keys()].filter((name) => !to.has(name)),
    };
    known.set(to, made);
  }
  return made;
}
