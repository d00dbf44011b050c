// For gRPC's own clients, which have no sidecar: they ask for the listener and the cluster of a destination by name, and call
// it directly. Nothing of theirs is stored: a call that finds no link fails, as gRPC says.

import type { Policy } from '../../policy/policy.ts';
import type { TypeName } from '../types.ts';
import * as bounds from './bounds.ts';
import { assignment, upstreamOf } from './clusters.ts';
import { discovered, ofUpstream } from './endpoints.ts';
import { envoyAddress } from './envoy-address.ts';
import type { Resource } from './resource.ts';

export const proxylessCluster = (destination: string): string => `${destination}/grpc`;

/** A listener named as a destination's host (`xds:///HOST`; a wildcard is no name), and the cluster that it names. */
export function namedResource(policy: Policy, type: TypeName, name: string): Resource | undefined {
  if (type === 'listener') {
    const destination = policy.destinations.find(({ hosts }) => hosts.includes(name));
    return destination && apiListener(name, proxylessCluster(destination.name));
  }
  if (type !== 'cluster') return undefined;
  const destination = policy.destinations.find((each) => proxylessCluster(each.name) === name);
  if (!destination) return undefined;
  const { host, port } = upstreamOf(destination);
  const wanted = ofUpstream(destination.upstream);
  // Whether to speak TLS is the client's own channel credentials' to say.
  return {
    '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
    name,
    connect_timeout: bounds.seconds(bounds.DIRECT_PATIENCE.connectMs),
    ...(wanted
      ? discovered(wanted, 'aggregated')
      : // The one that takes names and addresses.
        { type: 'LOGICAL_DNS', load_assignment: assignment(name, envoyAddress({ host, port })) }),
  };
}

/** gRPC takes of a connection manager what it knows, and refuses a listener whose last filter is not the router. */
const apiListener = (name: string, cluster: string): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
  name,
  api_listener: {
    api_listener: {
      '@type':
        'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: name,
      route_config: {
        name,
        virtual_hosts: [
          { name, domains: ['*'], routes: [{ match: { prefix: '' }, route: { cluster, timeout: '0s' } }] },
        ],
      },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
          },
        },
      ],
    },
  },
});
