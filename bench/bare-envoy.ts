// What an operator would write by hand to send an app's calls to one server, and nothing more: what a sidecar of Layby is measured beside.

import { isIP } from 'node:net';
import type { Address } from '../src/wire/address.ts';

const address = (at: Address): object =>
  'unix' in at
    ? { pipe: { path: at.unix } }
    : { socket_address: { address: isIP(at.host) ? at.host : '127.0.0.1', port_value: at.port } };

/** `admin`: a path for its admin socket. */
export const bareEnvoy = (outbound: Address, upstream: Address, admin: string): object => ({
  admin: { address: { pipe: { path: admin } } },
  static_resources: {
    clusters: [
      {
        name: 'upstream',
        type: 'STATIC',
        connect_timeout: '2s',
        load_assignment: {
          cluster_name: 'upstream',
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
        },
      },
    ],
    listeners: [
      {
        name: 'outbound',
        address: address(outbound),
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type':
                    'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  stat_prefix: 'outbound',
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'all',
                        domains: ['*'],
                        routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream', timeout: '0s' } }],
                      },
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
            ],
          },
        ],
      },
    ],
  },
});
