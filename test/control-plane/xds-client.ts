// An xDS client for tests: a real gRPC client that speaks both variants, aggregated or to each service apart, and a catalog that
// serves what a test says.

import { EventEmitter, once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { pino } from 'pino';
import type { Test } from 'tap';
import { bindGrpc } from '../../src/control-plane/server/bind.ts';
import { DiscoveryServer } from '../../src/control-plane/server/discovery.ts';
import type { Subscription } from '../../src/control-plane/server/subscription.ts';
import {
  type Catalog,
  EMPTY,
  type Served,
  type ServedResource,
  type TypeSnapshot,
  typeSnapshot,
} from '../../src/control-plane/snapshot.ts';
import { TYPES, type TypeName } from '../../src/control-plane/types.ts';
import { loadXds } from '../../src/control-plane/xds/registry.ts';

export const xds = await loadXds();

/** What is served, by type and name, to everybody. */
export class Shelf implements Catalog, Served {
  #types = new Map<TypeName, Map<string, ServedResource>>();
  #snapshots = new Map<TypeName, TypeSnapshot>();
  leases = 0;

  /** `more`: fields of the resource. */
  put(type: TypeName, name: string, version: string, more: object = {}): void {
    const key = type === 'endpoint' ? 'cluster_name' : 'name';
    const any = xds.any({ '@type': TYPES[type], [key]: name, ...more });
    const eds = 'type' in more && more.type === 'EDS' ? { assignment: name } : {};
    const resources = new Map(this.#types.get(type));
    resources.set(name, { name, version, any, ...eds });
    this.#set(type, resources);
  }

  remove(type: TypeName, name: string): void {
    const resources = new Map(this.#types.get(type));
    resources.delete(name);
    this.#set(type, resources);
  }

  #set(type: TypeName, resources: Map<string, ServedResource>): void {
    this.#types.set(type, resources);
    this.#snapshots.set(type, typeSnapshot(resources));
  }

  get(type: TypeName): TypeSnapshot {
    return this.#snapshots.get(type) ?? EMPTY;
  }

  lease(): Served {
    this.leases += 1;
    return this;
  }

  release(): void {
    this.leases -= 1;
  }
}

const SERVICE: Record<TypeName, [string, string]> = {
  cluster: ['cluster.v3.ClusterDiscoveryService', 'Clusters'],
  endpoint: ['endpoint.v3.EndpointDiscoveryService', 'Endpoints'],
  listener: ['listener.v3.ListenerDiscoveryService', 'Listeners'],
  route: ['route.v3.RouteDiscoveryService', 'Routes'],
  secret: ['secret.v3.SecretDiscoveryService', 'Secrets'],
  runtime: ['runtime.v3.RuntimeDiscoveryService', 'Runtime'],
};

export interface Mode {
  variant: 'sotw' | 'delta';
  aggregated: boolean;
}

export const MODES: readonly Mode[] = [
  { variant: 'sotw', aggregated: true },
  { variant: 'sotw', aggregated: false },
  { variant: 'delta', aggregated: true },
  { variant: 'delta', aggregated: false },
];

export const nameOf = ({ variant, aggregated }: Mode): string =>
  `${variant}, ${aggregated ? 'aggregated' : 'apart'}`;

/** A response of either variant, with the names in it. */
export interface Response {
  type: TypeName;
  version: string;
  nonce: string;
  names: string[];
  /** Delta: name → version. */
  versions: Record<string, string>;
  removed: string[];
}

interface WireResponse {
  version_info?: string;
  system_version_info?: string;
  nonce: string;
  type_url: string;
  resources: { name?: string; version?: string; value?: Buffer; type_url?: string }[];
  removed_resources?: string[];
}

const typeOf = new Map(Object.entries(TYPES).map(([name, url]) => [url as string, name as TypeName]));

const read = (wire: WireResponse): Response => {
  const type = typeOf.get(wire.type_url)!;
  const names = wire.resources.map(
    ({ name, value, type_url }) =>
      name ?? nameIn(xds.decodeAny({ type_url: type_url!, value: value! }) as Record<string, unknown>),
  );
  const versions = Object.fromEntries(wire.resources.map(({ name, version }) => [name, version ?? '']));
  return {
    type,
    version: wire.version_info ?? wire.system_version_info ?? '',
    nonce: wire.nonce,
    names: names.sort(),
    versions,
    removed: [...(wire.removed_resources ?? [])].sort(),
  };
};

const nameIn = (json: Record<string, unknown>): string => String(json.name ?? json.clusterName);

/** One client in one mode; streams are opened as they are needed. */
export class XdsClient {
  readonly mode: Mode;
  readonly #channel: grpc.Channel;
  readonly #target: string;
  readonly #node: object;
  #streams = new Map<string, grpc.ClientDuplexStream<object, WireResponse>>();
  readonly responses: Response[] = [];
  #events = new EventEmitter();
  #nonces = new Map<TypeName, { nonce: string; version: string }>();
  #names = new Map<TypeName, string[]>();
  /** Set: nothing is acknowledged by itself. */
  silent = false;
  errors: Error[] = [];

  constructor(target: string, mode: Mode, node: object = { id: 'truck-7' }) {
    this.#target = target;
    this.mode = mode;
    this.#node = node;
    this.#channel = new grpc.Channel(target, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  #stream(type: TypeName): { call: grpc.ClientDuplexStream<object, WireResponse>; first: boolean } {
    const { aggregated, variant } = this.mode;
    const key = aggregated ? 'all' : type;
    const known = this.#streams.get(key);
    if (known) return { call: known, first: false };
    const [service, suffix] = aggregated
      ? ['discovery.v3.AggregatedDiscoveryService', 'AggregatedResources']
      : SERVICE[type];
    const definition = xds.services.named(`envoy.service.${service}`);
    const Client = grpc.makeGenericClientConstructor(definition, service);
    const client = new Client(this.#target, grpc.credentials.createInsecure(), {
      channelOverride: this.#channel,
    });
    const method = `${variant === 'sotw' ? 'Stream' : 'Delta'}${suffix}`;
    const call = client[method]!() as unknown as grpc.ClientDuplexStream<object, WireResponse>;
    this.#streams.set(key, call);
    call.on('data', (wire: WireResponse) => {
      const response = read(wire);
      this.#nonces.set(response.type, response);
      this.responses.push(response);
      if (!this.silent) this.ack(response.type);
      this.#events.emit('response', response);
    });
    call.on('error', (error) => {
      this.errors.push(error);
      this.#events.emit('broken', error);
    });
    return { call, first: true };
  }

  /** The raw stream of a type, opened if need be. */
  raw(type: TypeName): grpc.ClientDuplexStream<object, WireResponse> {
    return this.#stream(type).call;
  }

  send(type: TypeName, fields: object): void {
    const { call, first } = this.#stream(type);
    // The node is on the first message only.
    call.write({ ...(first ? { node: this.#node } : {}), type_url: TYPES[type], ...fields });
  }

  /** Wants exactly these, in either variant. */
  want(type: TypeName, names: string[], fields: object = {}): void {
    const before = this.#names.get(type);
    this.#names.set(type, names);
    const { nonce = '', version = '' } = this.#nonces.get(type) ?? {};
    if (this.mode.variant === 'sotw') {
      this.send(type, {
        resource_names: names,
        version_info: version,
        response_nonce: nonce,
        ...fields,
      });
      return;
    }
    this.send(type, {
      resource_names_subscribe: names.filter((name) => !before?.includes(name)),
      resource_names_unsubscribe: (before ?? []).filter((name) => !names.includes(name)),
      ...fields,
    });
  }

  ack(type: TypeName, fields: object = {}): void {
    const { nonce, version } = this.#nonces.get(type)!;
    this.send(type, {
      response_nonce: nonce,
      ...(this.mode.variant === 'sotw'
        ? { version_info: version, resource_names: this.#names.get(type) ?? [] }
        : {}),
      ...fields,
    });
  }

  nack(type: TypeName, message: string): void {
    this.ack(type, { version_info: '', error_detail: { code: 3, message } });
  }

  /** The next response after those that were taken before. */
  async next(): Promise<Response> {
    if (this.#taken >= this.responses.length)
      await once(this.#events, 'response', { signal: AbortSignal.timeout(5_000) });
    return this.responses[this.#taken++]!;
  }
  #taken = 0;

  /** Responses that nobody has taken. */
  get rest(): Response[] {
    return this.responses.slice(this.#taken);
  }

  async broken(): Promise<Error> {
    if (this.errors.length === 0) await once(this.#events, 'broken', { signal: AbortSignal.timeout(5_000) });
    return this.errors[0]!;
  }

  /** All streams end; the next request opens new ones. */
  disconnect(): void {
    for (const call of this.#streams.values()) {
      call.removeAllListeners('data');
      call.on('error', () => {});
      call.cancel();
    }
    this.#streams.clear();
    this.#nonces.clear();
    this.errors = [];
  }

  close(): void {
    this.disconnect();
    this.#channel.close();
  }
}

/** Everything runs in this process: what is true in the end is true after some turns of its event loop. */
export async function until(is: () => boolean, what = String(is)): Promise<void> {
  for (const deadline = Date.now() + 5_000; !is(); await new Promise(setImmediate))
    if (Date.now() > deadline) throw new Error(`not within 5 s: ${what}`);
}

export interface Serving {
  shelf: Shelf;
  server: DiscoveryServer;
  grpcServer: grpc.Server;
  target: string;
  client(mode: Mode, node?: object): XdsClient;
  /** What is on the shelf is served. */
  push(): void;
  /** All that was sent was received and answered, and the server has seen it all: nothing more is on its way. */
  quiet(client: XdsClient): Promise<void>;
  /** What the server knows of the one client's subscription. */
  subscription(type: TypeName): Subscription | undefined;
}

/** A control plane that serves what a shelf has; ended with the test. */
export async function serving(t: Test, shelf = new Shelf()): Promise<Serving> {
  const server = new DiscoveryServer(xds, shelf, pino({ level: 'silent' }));
  const grpcServer = new grpc.Server();
  server.addTo(grpcServer);
  const address = await bindGrpc(grpcServer, { host: '127.0.0.1', port: 0 });
  const target = 'host' in address ? `${address.host}:${address.port}` : '';
  t.teardown(() => grpcServer.forceShutdown());
  return {
    shelf,
    server,
    grpcServer,
    target,
    push: () => server.push(),
    quiet: (client) =>
      until(() => {
        const sent = [...server.traffic.values()].reduce((sum, { responses }) => sum + responses, 0);
        return sent === client.responses.length && server.acks + server.nacks === sent;
      }, 'all responses are in and answered'),
    subscription: (type) =>
      [...server.clients].flatMap((each) => each.subscriptions).find((each) => each.type === type),
    client: (mode, node) => {
      const client = new XdsClient(target, mode, node);
      t.teardown(() => client.close());
      return client;
    },
  };
}
