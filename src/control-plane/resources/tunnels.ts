// Bytes that an app encrypts itself, for hosts that a destination names: by CONNECT, or as TLS that is led to the sidecar and says its
// host (SNI). Nothing of them can be read, so nothing is stored. They go to one address, the upstream's, whatever the app says.

import type { Destination, Policy } from '../../policy/policy.ts';
import type { Address } from '../../wire/address.ts';
import * as bounds from './bounds.ts';
import { tunnelCluster, upstreamOf } from './clusters.ts';
import { envoyAddress } from './envoy-address.ts';
import { stopKey, whileSet } from './holds.ts';
import { connect, withPort } from './matches.ts';
import { refuse, STOPPED } from './own-answers.ts';
import type { Resource } from './resource.ts';

const allowed = ({ tunnel }: Destination): boolean => tunnel === 'allow';

const noTunnel = (title: string) => refuse({ status: 403, type: 'tunnel-refused', title }, connect());

/** What answers CONNECT to a host; no other route does. `route`: where it leads; undefined: nowhere. */
export function tunnelRoutes(port: number, route: object | undefined): object[] {
  if (!route) return [noTunnel('The policy allows no tunnel to this host')];
  return [
    { match: connect([withPort(port)]), route: { timeout: '0s', ...route } },
    noTunnel(`The policy allows tunnels to port ${port} of this host, and to no other`),
  ];
}

/** Of the action of a route: the tunnel ends here, and goes on as bytes. */
export const ENDS_HERE = { upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] };

/** Of a destination's hosts. */
export function connectRoutes(destination: Destination): object[] {
  const { port } = upstreamOf(destination);
  if (!allowed(destination)) return tunnelRoutes(port, undefined);
  return [
    refuse(STOPPED, { ...connect(), ...whileSet(stopKey(destination.name)) }),
    ...tunnelRoutes(port, { cluster: tunnelCluster(destination), ...ENDS_HERE }),
  ];
}

/** Hosts that TLS can name: an address is none (RFC 6066 section 3). */
const serverNames = ({ hosts }: Destination): string[] =>
  hosts.filter((host) => !host.startsWith('[') && !/^[0-9.]+$/.test(host));

/** Where an app's TLS connections enter; none where no destination takes them. Who names another host, or none, is hung up on. */
export function tlsListeners(address: Address, { destinations }: Policy): Resource[] {
  const taking = destinations.filter((each) => allowed(each) && serverNames(each).length > 0);
  if (taking.length === 0) return [];
  return [
    {
      '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
      name: 'outbound-tls',
      address: envoyAddress(address),
      per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
      listener_filters_timeout: bounds.HEAD_PATIENCE,
      listener_filters: [
        {
          name: 'envoy.filters.listener.tls_inspector',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector',
          },
        },
      ],
      filter_chains: taking.map((destination) => ({
        name: destination.name,
        filter_chain_match: { transport_protocol: 'tls', server_names: serverNames(destination) },
        filters: [
          {
            name: 'envoy.filters.network.tcp_proxy',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
              stat_prefix: 'outbound-tls',
              cluster: tunnelCluster(destination),
              idle_timeout: bounds.STREAM_IDLE,
            },
          },
        ],
      })),
    },
  ];
}
