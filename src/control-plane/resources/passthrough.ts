// Calls to hosts that nothing in the policy names, where it lets them pass: they go to the host that the app called, by Envoy's dynamic
// forward proxy. Only apps' calls do: nothing of them is stored, and the queue's way out knows no such hosts.

import { IDEMPOTENT, PASSED_HEADER } from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import { patienceOf } from './clusters.ts';
import { HEADER_FILTER } from './header-filter.ts';
import { anyPath, connect, GRPC, type Match, oneOf, WEBSOCKET, withPort } from './matches.ts';
import { inOurWords, refuse } from './own-answers.ts';
import { rbacFilter, rbacRule } from './rbac.ts';
import type { Resource } from './resource.ts';
import { ENDS_HERE } from './tunnels.ts';

const REQUESTS_CLUSTER = 'layby/passthrough';
const STREAMS_CLUSTER = 'layby/passthrough-streams';

const DNS_FILTER = 'envoy.filters.http.dynamic_forward_proxy';

/** The filter and the clusters must say the same of it. */
const dnsCache = {
  name: REQUESTS_CLUSTER,
  dns_lookup_family: 'ALL',
  // Names that nobody calls are not asked for again and again: a question costs bytes.
  host_ttl: '60s',
  // Else a name that was asked for without a link would stay unknown for a minute after it is back: one that nobody answered for, and
  // one that was said not to exist. Of others the answer's own life counts.
  dns_refresh_rate: '5s',
  dns_failure_refresh_rate: { base_interval: '0.5s', max_interval: '2s' },
};

/** Filters of the listener; a route enables them. The second judges what the first has found. */
export const passthroughFilters = [
  {
    name: DNS_FILTER,
    disabled: true,
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig',
      dns_cache_config: dnsCache,
      save_upstream_address: true,
    },
  },
  { ...rbacFilter, disabled: true },
];

/** The sidecar's own machine and its own link: what listens there may take a call from there for one of its own. So also what would come
 *  back to this sidecar. */
const NOT_OUTSIDE: [address: string, bits: number][] = [
  ['127.0.0.0', 8],
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['::', 127],
  ['::ffff:0:0', 96],
  ['fe80::', 10],
];

const outsideOnly = rbacRule(
  'DENY',
  NOT_OUTSIDE.map(([address_prefix, prefix_len]) => ({
    matcher: {
      name: 'envoy.rbac.matchers.upstream_ip_port',
      typed_config: {
        '@type':
          'type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher',
        upstream_ip: { address_prefix, prefix_len },
      },
    },
  })),
  [{ any: true }],
);

/** What a call has that came by this way. A filter sets it, not the route, so that the words for a refusal can go by it. */
const marked = {
  '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute',
  mutations: {
    request_mutations: [
      {
        append: {
          header: { key: PASSED_HEADER, value: '1' },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        },
      },
    ],
  },
};

/** Words for the listener. */
export const notOutside = inOurWords(
  {
    type: 'passthrough-refused',
    title:
      'No document of the policy names this host, and it is an address of the sidecar itself or of its own link',
    status: 403,
  },
  { only: [{ header_filter: { header: { name: PASSED_HEADER, present_match: true } } }] },
);

const passes = (match: Match, cluster: string, more: object = {}) => ({
  match,
  typed_per_filter_config: {
    [DNS_FILTER]: { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', config: {} },
    [HEADER_FILTER]: marked,
    ...outsideOnly,
  },
  route: { cluster, timeout: '0s', ...more },
});

const cameBack = (match: Match) =>
  refuse(
    {
      status: 508,
      type: 'passthrough-loop',
      title: 'This call has passed a sidecar already: its host leads back here',
    },
    match,
  );

const backHere = { headers: [{ name: PASSED_HEADER, present_match: true }] };

const NOT_ARRIVED = 'connect-failure,refused-stream,reset-before-request';

/** Each is two more SYNs. */
const again = (retry_on: string) => ({ retry_policy: { retry_on, num_retries: 2 } });

/** `checks`: routes that refuse what no destination takes either. */
export const passthroughRoutes = (checks: object[]): object[] => [
  cameBack(connect(backHere.headers)),
  passes(connect([withPort('[0-9]+')]), STREAMS_CLUSTER, ENDS_HERE),
  refuse({ status: 400, title: 'Layby: CONNECT needs a host and a port' }, connect()),
  ...checks,
  cameBack(anyPath(backHere)),
  refuse(
    {
      status: 400,
      title: 'Layby: an https URL comes by CONNECT: asked for like this, it would go on without TLS',
    },
    anyPath({ headers: [{ name: ':scheme', string_match: { exact: 'https' } }] }),
  ),
  passes(anyPath({ headers: GRPC }), STREAMS_CLUSTER),
  passes(anyPath({ headers: WEBSOCKET }), STREAMS_CLUSTER, {
    upgrade_configs: [{ upgrade_type: 'websocket' }],
  }),
  // The host may have closed the connection for want of requests.
  passes(anyPath({ headers: [oneOf(IDEMPOTENT)] }), REQUESTS_CLUSTER, again(`${NOT_ARRIVED},reset`)),
  passes(anyPath(), REQUESTS_CLUSTER, again(NOT_ARRIVED)),
];

/** To each host in what the app speaks: HTTP/1.1 or HTTP/2, without TLS. */
const cluster = (name: string, patience: bounds.Patience): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  name,
  ...patienceOf(patience, { linger: true }),
  per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
  lb_policy: 'CLUSTER_PROVIDED',
  cluster_type: {
    name: 'envoy.clusters.dynamic_forward_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig',
      dns_cache_config: dnsCache,
      // About TLS, which is not spoken here.
      allow_insecure_cluster_options: true,
    },
  },
  circuit_breakers: bounds.CIRCUIT,
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      common_http_protocol_options: { idle_timeout: bounds.POOL_IDLE },
      use_downstream_protocol_config: {
        http_protocol_options: { enable_trailers: true },
        http2_protocol_options: { allow_connect: true },
      },
    },
  },
});

/** A request hears within seconds that there is no link; a conversation outlives a short blackhole, as a destination's does. */
export const passthroughClusters: Resource[] = [
  cluster(REQUESTS_CLUSTER, bounds.DIRECT_PATIENCE),
  cluster(STREAMS_CLUSTER, bounds.EGRESS_PATIENCE),
];
