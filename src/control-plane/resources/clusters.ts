// Where requests can go, for each upstream: `<name>/direct` (impatient, ejected at the first loss), `layby/queue`, `<name>` (an aggregate
// of the two, in this order), `<name>/egress` (patient, for what the queue sends, and for streams) and, where there is one,
// `<name>/mirror`; `<name>/tunnel` leads to the same address without TLS.
// `<name>` is the destination's, or with `@` and a hash behind it for an upstream of a rule or a split.

import { isIP } from 'node:net';
import { upstreamsOf } from '../../policy/in-force.ts';
import type { Destination, Upstream } from '../../policy/policy.ts';
import { upstreamName, upstreamPath, urlPort } from '../../policy/upstream.ts';
import type { Address } from '../../wire/address.ts';
import * as bounds from './bounds.ts';
import type { Discovery } from './config-source.ts';
import { discovered, ofUpstream } from './endpoints.ts';
import { envoyAddress } from './envoy-address.ts';
import { patched } from './patch.ts';
import type { Resource } from './resource.ts';

/** A name that no destination can have, as of all that is Layby's own. */
export const QUEUE_CLUSTER = 'layby/queue';
/** First the upstream, then the queue. */
export const failoverCluster = upstreamName;
export const directCluster = (destination: Destination): string => `${upstreamName(destination)}/direct`;
export const egressCluster = (destination: Destination): string => `${upstreamName(destination)}/egress`;
export const tunnelCluster = ({ name }: Destination): string => `${name}/tunnel`;
export const mirrorCluster = (destination: Destination): string => `${upstreamName(destination)}/mirror`;

const CLUSTER = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';

/** Host, port and scheme of an upstream URL; `host` without brackets. */
export function upstreamOf(destination: Destination): {
  tls: boolean;
  host: string;
  port: number;
  authority: string;
  path: string;
} {
  const url = new URL(destination.upstream.url);
  const tls = url.protocol === 'https:';
  return {
    tls,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: urlPort(url),
    authority: url.host,
    path: upstreamPath(destination),
  };
}

export const httpOptions = (protocol: Upstream['protocol'] = 'http1') => ({
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    common_http_protocol_options: { idle_timeout: bounds.POOL_IDLE },
    explicit_http_config:
      protocol === 'http2'
        ? // A WebSocket goes on as RFC 8441 has it.
          { http2_protocol_options: { allow_connect: true } }
        : { http_protocol_options: { enable_trailers: true } },
  },
});

export const assignment = (cluster: string, address: object) => ({
  cluster_name: cluster,
  endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
});

/** Level and name are Linux's. TCP_USER_TIMEOUT (ms) bounds the silence. SO_LINGER {on, 0 s} makes a close discard what the
 *  kernel has not sent yet: otherwise a request that was given up, and went another way, would still arrive when the link is
 *  back, after newer ones of its key (law 3). `linger`: as Linux has it. */
export const socketOptions = (userTimeoutMs: number, { linger }: { linger: boolean }) => ({
  socket_options: [
    { description: 'TCP_USER_TIMEOUT', level: 6, name: 18, int_value: userTimeoutMs },
    ...(linger ? [] : [{ description: 'SO_LINGER', level: 1, name: 13, buf_value: 'AQAAAAAAAAA=' }]),
  ],
});

/** What of a sidecar the clusters of destinations depend on. */
export interface Side {
  /** A PEM file on its machine. */
  trustedCa: string;
  discovery: Discovery;
}

/** How a cluster finds what is at an address. Of a name all addresses are tried, both families in turn (RFC 8305), for each
 *  connection: many a network answers with IPv6 addresses, and has no way to them. It is asked for again when the answer is too old: each
 *  five seconds, as by default, would cost a metered link 11 MB a day for one destination. */
export const lookup = (address: Address): object =>
  'host' in address && !isIP(address.host)
    ? {
        type: 'LOGICAL_DNS',
        dns_lookup_family: 'ALL',
        respect_dns_ttl: true,
        // Without signal no name resolves; the sidecar must start all the same.
        wait_for_warm_on_init: false,
      }
    : { type: 'STATIC' };

/** Of a cluster whose host is what an address or DNS says. */
export const located = (name: string, address: Address): object => ({
  ...lookup(address),
  load_assignment: assignment(name, envoyAddress(address)),
});

/** Where an upstream is: as the control plane knows it, as its URL says, or as DNS does. */
function placeOf(name: string, destination: Destination, discovery: Discovery): object {
  const wanted = ofUpstream(destination.upstream);
  if (wanted) return discovered(wanted, discovery);
  const { host, port } = upstreamOf(destination);
  return located(name, { host, port });
}

function upstreamCluster(
  name: string,
  destination: Destination,
  { ms, probes }: bounds.Patience,
  { trustedCa, discovery }: Side,
  more: object = {},
): Resource {
  const { tls, host } = upstreamOf(destination);
  const { connectTimeout, protocol } = destination.upstream;
  return patched(destination.envoy?.cluster, {
    '@type': CLUSTER,
    name,
    ...placeOf(name, destination, discovery),
    connect_timeout: connectTimeout === undefined ? bounds.CONNECT_TIMEOUT : bounds.seconds(connectTimeout),
    per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
    circuit_breakers: bounds.CIRCUIT,
    upstream_bind_config: socketOptions(ms, { linger: false }),
    // A peer that went silent while we wait for its answer is found by probes; TCP_USER_TIMEOUT sees only our own bytes.
    upstream_connection_options: { tcp_keepalive: probes },
    typed_extension_protocol_options: httpOptions(protocol),
    ...(tls
      ? {
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
              ...(isIP(host) ? {} : { sni: host }),
              common_tls_context: {
                ...(protocol === 'http2' && { alpn_protocols: ['h2'] }),
                validation_context: {
                  trusted_ca: { filename: trustedCa },
                  match_typed_subject_alt_names: [
                    { san_type: isIP(host) ? 'IP_ADDRESS' : 'DNS', matcher: { exact: host } },
                  ],
                },
              },
            },
          },
        }
      : {}),
    ...more,
  });
}

/** The clusters of all upstreams of a destination. */
export const destinationClusters = (destination: Destination, side: Side): Resource[] => [
  ...upstreamsOf(destination).flatMap((upstream) => clustersOf({ ...destination, upstream }, side)),
  ...(destination.tunnel === 'allow' ? [tunnelUpstream(destination, side)] : []),
];

/** The app itself speaks TLS with who is there. What it said last is delivered after it has gone: there is no newer request that it
 *  could come behind. */
function tunnelUpstream(destination: Destination, side: Side): Resource {
  const { hostname } = new URL(destination.upstream.url);
  const { port } = upstreamOf(destination);
  const { connectTimeout, service } = destination.upstream;
  const upstream = {
    url: `http://${hostname}:${port}`,
    ...(service && { service }),
    ...(connectTimeout !== undefined && { connectTimeout }),
  };
  return upstreamCluster(
    tunnelCluster(destination),
    { ...destination, upstream },
    bounds.EGRESS_PATIENCE,
    side,
    { upstream_bind_config: socketOptions(bounds.EGRESS_PATIENCE.ms, { linger: true }) },
  );
}

/** A host that is lost is left alone for a while, and others have its calls. */
export const ejecting = {
  // Or Envoy spreads over hosts that it knows to be dead.
  common_lb_config: { healthy_panic_threshold: { value: 0 } },
  // The first loss ejects; answers of the destination, 5xx included, never do.
  outlier_detection: {
    split_external_local_origin_errors: true,
    consecutive_local_origin_failure: 1,
    enforcing_consecutive_local_origin_failure: 100,
    enforcing_local_origin_success_rate: 0,
    enforcing_consecutive_5xx: 0,
    enforcing_consecutive_gateway_failure: 0,
    enforcing_success_rate: 0,
    interval: '1s',
    base_ejection_time: bounds.EJECTION,
    max_ejection_time: bounds.EJECTION,
    max_ejection_percent: 100,
    always_eject_one_host: true,
  },
};

function clustersOf(destination: Destination, side: Side): Resource[] {
  const direct = directCluster(destination);
  const { mirror } = destination.upstream;
  return [
    upstreamCluster(direct, destination, bounds.DIRECT_PATIENCE, side, ejecting),
    {
      '@type': CLUSTER,
      name: failoverCluster(destination),
      lb_policy: 'CLUSTER_PROVIDED',
      connect_timeout: bounds.CONNECT_TIMEOUT,
      circuit_breakers: bounds.CIRCUIT,
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
      typed_extension_protocol_options: httpOptions(),
      cluster_type: {
        name: 'envoy.clusters.aggregate',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
          clusters: [direct, QUEUE_CLUSTER],
        },
      },
    },
    upstreamCluster(egressCluster(destination), destination, bounds.EGRESS_PATIENCE, side),
    ...(mirror
      ? [
          upstreamCluster(
            mirrorCluster(destination),
            { ...destination, upstream: mirror },
            bounds.DIRECT_PATIENCE,
            side,
          ),
        ]
      : []),
  ];
}

/** `tls`: a transport socket. */
export function queueCluster(queue: Address, tls?: object): Resource {
  return {
    '@type': CLUSTER,
    name: QUEUE_CLUSTER,
    ...lookup(queue),
    connect_timeout: '1s',
    per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
    load_assignment: assignment(QUEUE_CLUSTER, envoyAddress(queue)),
    ...(tls && { transport_socket: tls }),
    circuit_breakers: bounds.CIRCUIT,
    typed_extension_protocol_options: httpOptions(),
  };
}
