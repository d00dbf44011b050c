// CSDS, envoy.service.status.v3: what each client has of each resource, for tools that speak to any control plane.

import type * as grpc from '@grpc/grpc-js';
import { TYPES } from '../types.ts';
import type { WireAny, Xds } from '../xds/registry.ts';
import type { Client } from './client.ts';
import { matchesNode, type NodeMatcher } from './node-matcher.ts';
import { asRefusal, notThat, type Peered, peerId } from './peer.ts';
import type { Refusal, Subscription } from './subscription.ts';
import type { Node } from './transport.ts';

interface ClientStatusRequest {
  node_matchers: NodeMatcher[];
  exclude_resource_contents: boolean;
}

interface GenericXdsConfig {
  type_url: string;
  name: string;
  version_info?: string;
  config_status: 'SYNCED' | 'NOT_SENT' | 'STALE' | 'ERROR';
  client_status: 'REQUESTED' | 'DOES_NOT_EXIST' | 'ACKED' | 'NACKED';
  xds_config?: WireAny;
  error_state?: { last_update_attempt: Timestamp; details: string; version_info: string };
}

interface Timestamp {
  seconds: number;
  nanos: number;
}

interface ClientStatusResponse {
  config: { node: Node; generic_xds_configs: GenericXdsConfig[]; client_scope: string }[];
}

const timestamp = (ms: number): Timestamp => ({
  seconds: Math.floor(ms / 1000),
  nanos: (ms % 1000) * 1_000_000,
});

const errorState = ({ at, message, version }: Refusal) => ({
  last_update_attempt: timestamp(at),
  details: message,
  version_info: version,
});

/** What is served and wanted; and what is wanted and is not there. */
function configs(client: Client, subscription: Subscription, contents: boolean): GenericXdsConfig[] {
  const { type, refusal } = subscription;
  const snapshot = client.served.get(type);
  const wanted = subscription.wanted(snapshot);
  const served = [...wanted.values()].map((resource): GenericXdsConfig => {
    const standing = subscription.standing(resource);
    return {
      type_url: TYPES[type],
      name: resource.name,
      version_info: resource.version,
      config_status: standing,
      client_status: standing === 'SYNCED' ? 'ACKED' : standing === 'ERROR' ? 'NACKED' : 'REQUESTED',
      ...(contents && type !== 'secret' ? { xds_config: resource.any } : {}),
      ...(standing === 'ERROR' && refusal ? { error_state: errorState(refusal) } : {}),
    };
  });
  const missing = [...subscription.names].filter((name) => !wanted.has(name));
  return [
    ...served,
    ...missing.map(
      (name): GenericXdsConfig => ({
        type_url: TYPES[type],
        name,
        config_status: 'NOT_SENT',
        client_status: 'DOES_NOT_EXIST',
      }),
    ),
  ];
}

/** Errors: LAYBY_REQUEST_INVALID. */
function clientStatus(clients: Iterable<Client>, request: ClientStatusRequest): ClientStatusResponse {
  const about = [...clients].filter(({ node }) => matchesNode(request.node_matchers, node));
  return {
    config: about.map((client) => ({
      node: client.node,
      client_scope: client.transport,
      generic_xds_configs: client.subscriptions.flatMap((subscription) =>
        configs(client, subscription, !request.exclude_resource_contents),
      ),
    })),
  };
}

/** What all sidecars have is for those who are on this machine. */
function mustBeHere(call: Peered): void {
  const other = notThat(peerId(call), undefined);
  if (other) throw other;
}

export function addCsds(server: grpc.Server, xds: Xds, clients: () => Iterable<Client>): void {
  server.addService(xds.services.csds, {
    FetchClientStatus: ((call, callback) => {
      try {
        mustBeHere(call);
        callback(null, clientStatus(clients(), call.request));
      } catch (error) {
        callback(asRefusal(error));
      }
    }) as grpc.handleUnaryCall<ClientStatusRequest, ClientStatusResponse>,
    // One answer to each request.
    StreamClientStatus: ((call) => {
      call.on('data', (request) => {
        try {
          mustBeHere(call);
          call.write(clientStatus(clients(), request));
        } catch (error) {
          call.emit('error', asRefusal(error));
        }
      });
      call.on('end', () => call.end());
      call.on('error', () => {});
    }) as grpc.handleBidiStreamingCall<ClientStatusRequest, ClientStatusResponse>,
  } as grpc.UntypedServiceImplementation);
}
