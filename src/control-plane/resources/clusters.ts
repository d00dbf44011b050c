// Where requests can go, for each upstream: `<name>/direct` (impatient), `layby/queue`, `<name>` (an aggregate
// of the two, in this order), `<name>/egress` (patient, for what the queue sends, and for streams) and, where there is one,
// `<name>/mirror`; `<name>/tunnel` leads to the same address without TLS.
// `<name>` is the destination's, or with `@` and a hash behind it for an upstream of a rule or a split.

import { isIP } from 'node:net';
import { upstreamsOf } from '../../policy/in-force.ts';
import type { Destination, Upstream } from '../../policy/policy.ts';
import { upstreamName, upstreamPath, urlPort } from '../../policy/upstream.ts';
import type { Address } from '../../wire/address.ts';
import { FAILED_HEADER } from '../../wire/names.ts';
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

const UPSTREAM_CODEC = {
  name: 'envoy.filters.http.upstream_codec',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec',
  },
};

/** `filters`: what each try passes before it is sent. */
export const httpOptions = (protocol: Upstream['protocol'] = 'http1', filters: object[] = []) => ({
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    common_http_protocol_options: { idle_timeout: bounds.POOL_IDLE },
    ...(filters.length > 0 && { http_filters: [...filters, UPSTREAM_CODEC] }),
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

/** Level and name are Linux's. TCP_NOTSENT_LOWAT keeps what the kernel takes ahead of the link small. SO_LINGER {on, 0 s} makes a close discard what the kernel has not sent yet: otherwise a request that was
 *  given up, and went another way, would still arrive when the link is back, after newer ones of its key (law 3). `linger`: as Linux has it. */
const socketOptions = ({ ms, synMs }: bounds.Patience, { linger }: { linger: boolean }) => ({
  socket_options: [
    { description: 'TCP_USER_TIMEOUT', level: 6, name: 18, int_value: ms },
    { description: 'TCP_NOTSENT_LOWAT', level: 6, name: 25, int_value: bounds.UNSENT },
    { description: 'TCP_SYNCNT', level: 6, name: 7, int_value: bounds.synRetries(synMs) },
    ...(linger ? [] : [{ description: 'SO_LINGER', level: 1, name: 13, buf_value: 'AQAAAAAAAAA=' }]),
  ],
});

/** How long a cluster's connections may take and be silent: fields of the cluster. A peer that went silent while we wait for its answer is
 *  found by probes; TCP_USER_TIMEOUT sees only our own bytes. `linger`: see socketOptions. */
export const patienceOf = (patience: bounds.Patience, linger: { linger: boolean }) => ({
  connect_timeout: bounds.seconds(patience.connectMs),
  upstream_bind_config: socketOptions(patience, linger),
  upstream_connection_options: { tcp_keepalive: patience.probes },
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
  patience: bounds.Patience,
  { trustedCa, discovery }: Side,
  { linger = false, ...more }: { linger?: boolean } & Record<string, unknown> = {},
): Resource {
  const { tls, host } = upstreamOf(destination);
  const { protocol } = destination.upstream;
  return patched(destination.envoy?.cluster, {
    '@type': CLUSTER,
    name,
    ...placeOf(name, destination, discovery),
    ...patienceOf(patience, { linger }),
    per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
    circuit_breakers: bounds.CIRCUIT,
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
    bounds.egressPatience(upstream),
    side,
    { linger: true },
  );
}

/** `upstream.request_attempt_count == 1u`, parsed. */
const IS_FIRST_TRY = {
  id: '1',
  call_expr: {
    function: '_==_',
    args: [
      {
        id: '2',
        select_expr: {
          operand: { id: '3', ident_expr: { name: 'upstream' } },
          field: 'request_attempt_count',
        },
      },
      { id: '4', const_expr: { uint64_value: '1' } },
    ],
  },
};

/** Tells the queue how long the direct path took to fail: all tries but the first are its own. */
const tellingOfFailure = [
  {
    name: 'layby.failed',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher',
      extension_config: {
        name: 'envoy.filters.http.header_mutation',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
          mutations: {
            request_mutations: [
              {
                append: {
                  header: { key: FAILED_HEADER, value: '%START_TIME(%s%3f)% %EMIT_TIME(%s%3f)%' },
                  append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
                },
              },
            ],
          },
        },
      },
      xds_matcher: {
        matcher_list: {
          matchers: [
            {
              predicate: {
                single_predicate: {
                  input: {
                    name: 'envoy.matching.inputs.cel_data_input',
                    typed_config: {
                      '@type': 'type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput',
                    },
                  },
                  custom_match: {
                    name: 'envoy.matching.matchers.cel_matcher',
                    typed_config: {
                      '@type': 'type.googleapis.com/xds.type.matcher.v3.CelMatcher',
                      expr_match: { cel_expr_parsed: { expr: IS_FIRST_TRY } },
                    },
                  },
                },
              },
              on_match: {
                action: {
                  name: 'skip',
                  typed_config: {
                    '@type':
                      'type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter',
                  },
                },
              },
            },
          ],
        },
      },
    },
  },
];

/** Of hosts that can take one another's calls: one that is lost is left alone for a while. A destination with one address has no ejection: it
 *  would cost calls for what is no lost link, and the queue is asked after the first loss anyway. */
export const ejecting = {
  // Or Envoy spreads over hosts that it knows to be dead.
  common_lb_config: { healthy_panic_threshold: { value: 0 } },
  // Answers of the destination, 5xx included, never eject.
  outlier_detection: {
    split_external_local_origin_errors: true,
    // To Envoy each reset is a failure, also that of a connection which the server has closed for want of requests. Each use of a connection
    // begins the count anew, so such a one alone is never the second, and attempts to connect are.
    consecutive_local_origin_failure: 2,
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
    upstreamCluster(
      direct,
      destination,
      bounds.directPatience(destination.upstream),
      side,
      ofUpstream(destination.upstream) ? ejecting : {},
    ),
    {
      '@type': CLUSTER,
      name: failoverCluster(destination),
      lb_policy: 'CLUSTER_PROVIDED',
      connect_timeout: bounds.seconds(bounds.DIRECT_PATIENCE.connectMs),
      circuit_breakers: bounds.CIRCUIT,
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
      typed_extension_protocol_options: httpOptions('http1', tellingOfFailure),
      cluster_type: {
        name: 'envoy.clusters.aggregate',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
          clusters: [direct, QUEUE_CLUSTER],
        },
      },
    },
    upstreamCluster(
      egressCluster(destination),
      destination,
      bounds.egressPatience(destination.upstream),
      side,
    ),
    ...(mirror
      ? [
          upstreamCluster(
            mirrorCluster(destination),
            { ...destination, upstream: mirror },
            bounds.directPatience(mirror),
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
