// The discovery services for grpc-js: aggregated and apart, state of the world and delta. Here are the streams and who they belong
// to; what a request means is each transport's, what goes out when is client.ts.

import { EventEmitter, once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { DEFAULT_TRUST_DOMAIN, sidecarId } from '../../identity/spiffe.ts';
import { timerMs } from '../../platform/timer.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Discovery } from '../resources/config-source.ts';
import type { Sidecar } from '../resources/sidecar.ts';
import type { Catalog } from '../snapshot.ts';
import { TYPES, type TypeName, typeOf } from '../types.ts';
import type { Xds } from '../xds/registry.ts';
import { type Channel, Client, type ClientStatus } from './client.ts';
import { addCsds } from './csds.ts';
import { delta } from './delta.ts';
import { keptNode, sidecarOf } from './node.ts';
import { asRefusal, notThat, peerId, refusal } from './peer.ts';
import { withNonce } from './response.ts';
import { sotw } from './sotw.ts';
import type { AnyRequest, Transport } from './transport.ts';

type Call = grpc.ServerDuplexStream<AnyRequest, Buffer>;
type Variant = 'sotw' | 'delta';

const TRANSPORTS: Record<Variant, Transport<AnyRequest>> = {
  sotw: sotw as Transport<AnyRequest>,
  delta: delta as Transport<AnyRequest>,
};

/** Which of a service's methods are which, and whose type they are about (none: any). */
const SERVICES: { name: string; type?: TypeName; sotw: string; delta: string }[] = [
  {
    name: 'discovery.v3.AggregatedDiscoveryService',
    sotw: 'StreamAggregatedResources',
    delta: 'DeltaAggregatedResources',
  },
  {
    name: 'cluster.v3.ClusterDiscoveryService',
    type: 'cluster',
    sotw: 'StreamClusters',
    delta: 'DeltaClusters',
  },
  {
    name: 'endpoint.v3.EndpointDiscoveryService',
    type: 'endpoint',
    sotw: 'StreamEndpoints',
    delta: 'DeltaEndpoints',
  },
  {
    name: 'listener.v3.ListenerDiscoveryService',
    type: 'listener',
    sotw: 'StreamListeners',
    delta: 'DeltaListeners',
  },
  { name: 'route.v3.RouteDiscoveryService', type: 'route', sotw: 'StreamRoutes', delta: 'DeltaRoutes' },
  { name: 'secret.v3.SecretDiscoveryService', type: 'secret', sotw: 'StreamSecrets', delta: 'DeltaSecrets' },
  {
    name: 'runtime.v3.RuntimeDiscoveryService',
    type: 'runtime',
    sotw: 'StreamRuntime',
    delta: 'DeltaRuntime',
  },
];

/** What went out. */
export interface Traffic {
  variant: Variant;
  type: TypeName;
  responses: number;
  bytes: number;
}

export class DiscoveryServer extends EventEmitter<{ settled: [Client]; asked: [Client] }> {
  #xds: Xds;
  #catalog: Catalog;
  #log: Logger;
  #trustDomain: string;
  #clients = new Set<Client>();
  /** Of those that ask each service apart. */
  #byNode = new Map<string, Client>();
  #keys = new Map<Client, string>();
  #asking = new Map<TypeName, Set<Client>>();
  /** Until there is something to serve, streams are refused: to send nothing would take from a sidecar what it has, and one that is
   *  told at its start of no listeners asks again after 15 s only (seen with Envoy 1.40). */
  ready: () => boolean = () => true;
  acks = 0;
  nacks = 0;
  /** By variant and type. */
  readonly traffic = new Map<string, Traffic>();

  /** `trustDomain`: of the certificates of sidecars that come over TLS. */
  constructor(xds: Xds, catalog: Catalog, log: Logger, trustDomain = DEFAULT_TRUST_DOMAIN) {
    super();
    this.setMaxListeners(0);
    this.#xds = xds;
    this.#catalog = catalog;
    this.#log = log;
    this.#trustDomain = trustDomain;
  }

  /** The discovery services and CSDS. */
  addTo(server: grpc.Server): void {
    addCsds(server, this.#xds, () => this.#clients);
    for (const { name, type, ...methods } of SERVICES) {
      const service = this.#xds.services.named(`envoy.service.${name}`);
      const definition: Record<string, grpc.MethodDefinition<unknown, unknown>> = {};
      const handlers: grpc.UntypedServiceImplementation = {};
      for (const variant of ['sotw', 'delta'] as const) {
        const method = methods[variant];
        // Responses are made of bytes that are encoded already: see response.ts.
        definition[method] = { ...service[method]!, responseSerialize: (bytes) => bytes as Buffer };
        handlers[method] = ((call: Call) => this.#serve(call, variant, type)) as grpc.UntypedHandleCall;
      }
      server.addService(definition as grpc.ServiceDefinition, handlers);
    }
  }

  #serve(call: Call, variant: Variant, only: TypeName | undefined): void {
    let client: Client | undefined;
    const channel: Channel = {
      transport: TRANSPORTS[variant],
      free: true,
      stalled: false,
      // One at a time: what a client does not read is not piled up for it, it is sent the newest when it has read.
      write: (type, body, nonce) => {
        const bytes = withNonce(body, nonce);
        this.#count(variant, type, bytes.length);
        channel.free = false;
        call.write(bytes, () => {
          channel.free = true;
          const { stalled } = channel;
          channel.stalled = false;
          if (stalled) client?.push();
        });
      },
    };
    const leave = () => {
      if (client) this.#leave(client, channel);
      client = undefined;
    };
    call.on('data', (request: AnyRequest) => {
      try {
        client ??= this.#enter(call, request, variant, only);
        this.#request(client, channel, request, only);
      } catch (error) {
        const node = request.node?.id;
        if (client || this.ready()) this.#log.error({ err: error, node }, 'xds request failed');
        else this.#log.debug({ node }, 'there is no policy yet');
        leave();
        // Not destroy, which would send no status.
        call.emit('error', asRefusal(error));
      }
    });
    call.on('end', () => {
      leave();
      call.end();
    });
    call.on('error', leave);
    call.on('cancelled', leave);
  }

  /** Errors: LAYBY_REQUEST_INVALID, LAYBY_ADDRESS_INVALID, LAYBY_IDENTITY_INVALID, LAYBY_XDS_INVALID, PERMISSION_DENIED to a
   *  sidecar of another machine that is not who it says, and UNAVAILABLE before it is ready. */
  #enter(call: Call, request: AnyRequest, variant: Variant, only: TypeName | undefined): Client {
    if (!this.ready()) throw refusal(grpc.status.UNAVAILABLE, 'there is no policy yet');
    const node = keptNode(request.node);
    const peer = peerId(call);
    const other = peer === undefined ? undefined : notThat(peer, sidecarId(this.#trustDomain, node.id));
    if (other) throw other;
    const apart: Discovery = variant === 'delta' ? 'separate-delta' : 'separate';
    const sidecar = sidecarOf(node, only ? apart : 'aggregated');
    const key = JSON.stringify([node.id, sidecar]);
    const known = only && this.#byNode.get(key);
    if (known) return known;
    const transport = `${only ? 'separate' : 'aggregated'} ${variant}`;
    const client = new Client(node, transport, this.#catalog.lease(sidecar, node.id));
    this.#clients.add(client);
    if (only) {
      this.#byNode.set(key, client);
      this.#keys.set(client, key);
    }
    return client;
  }

  #leave(client: Client, channel: Channel): void {
    if (client.leave(channel)) {
      this.#clients.delete(client);
      this.#byNode.delete(this.#keys.get(client) ?? '');
      this.#keys.delete(client);
      for (const clients of this.#asking.values()) clients.delete(client);
      this.#catalog.release(client.served);
    }
    this.emit('settled', client);
  }

  #request(client: Client, channel: Channel, request: AnyRequest, only: TypeName | undefined): void {
    const type = only ?? typeOf(request.type_url);
    if (!type || (only && request.type_url !== '' && request.type_url !== TYPES[only])) {
      this.#log.warn({ node: client.id, type: request.type_url }, 'xds request for what is not served');
      return;
    }
    const { upToDate } = client;
    const { was } = client.request(channel, type, request);
    const asking = this.#asking.get(type) ?? new Set();
    this.#asking.set(type, asking);
    if (!asking.has(client)) {
      asking.add(client);
      this.emit('asked', client);
    }
    if (was === 'ack') this.acks += 1;
    if (was === 'nack') {
      this.nacks += 1;
      this.#log.error({ node: client.id, type, nack: request.error_detail?.message }, 'sidecar refused');
    }
    client.push();
    if (!upToDate && client.upToDate)
      this.#log.info({ node: client.id }, 'sidecar has taken its configuration');
    if (was === 'ack' || was === 'nack') this.emit('settled', client);
  }

  #count(variant: Variant, type: TypeName, bytes: number): void {
    const key = `${variant} ${type}`;
    const traffic = this.traffic.get(key) ?? { variant, type, responses: 0, bytes: 0 };
    traffic.responses += 1;
    traffic.bytes += bytes;
    this.traffic.set(key, traffic);
  }

  /** Sends what has changed, and nothing else: of one type to those that ask for it, or all to all. */
  push(type?: TypeName): void {
    for (const client of type ? (this.#asking.get(type) ?? []) : this.#clients) client.push(type);
  }

  /** Resolves to true when every connected client has answered for what is served now of this type, false after `ms`. */
  async settled(type: TypeName, ms: number): Promise<boolean> {
    const behind = new Set([...(this.#asking.get(type) ?? [])].filter((client) => !client.settled(type)));
    if (behind.size === 0) return true;
    return new Promise((resolve) => {
      const finish = (answer: boolean) => {
        clearTimeout(timer);
        this.off('settled', check);
        resolve(answer);
      };
      const check = (client: Client) => {
        if (!behind.has(client) || (this.#clients.has(client) && !client.settled(type))) return;
        behind.delete(client);
        if (behind.size === 0) finish(true);
      };
      const timer = setTimeout(() => finish(false), timerMs(ms));
      this.on('settled', check);
    });
  }

  /** How many connected clients ask for this type. */
  asking(type: TypeName): number {
    return this.#asking.get(type)?.size ?? 0;
  }

  /** Resolves when `count` connected clients ask for this type, 0: more than any number; at the latest after `ms`. */
  async asked(type: TypeName, count: number, ms: number): Promise<void> {
    const signal = AbortSignal.timeout(timerMs(Math.max(1, Math.round(ms))));
    while (!signal.aborted && !(count > 0 && this.asking(type) >= count))
      await once(this, 'asked', { signal }).catch(() => {});
  }

  get clients(): ReadonlySet<Client> {
    return this.#clients;
  }

  /** Who is there, and what each says of itself. */
  sidecars(): { node: string; sidecar: Sidecar }[] {
    return [...this.#clients].map(({ node, transport }) => ({
      node: node.id,
      sidecar: sidecarOf(
        node,
        transport.startsWith('aggregated')
          ? 'aggregated'
          : transport.endsWith('delta')
            ? 'separate-delta'
            : 'separate',
      ),
    }));
  }

  status(): ClientStatus[] {
    return [...this.#clients].map((client) => client.status());
  }
}
