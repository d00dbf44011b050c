// Where requests enter a sidecar: `outbound` for apps, and `egress` for what the queue sends out.

import { SIGNED_BODY_BYTES, TOO_LONG_TO_SIGN } from '../../policy/signature.ts';
import type { Address } from '../../wire/address.ts';
import { CONNECTIONS_HEADER, NO_LINK_HEADER } from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import { QUEUE_CLUSTER } from './clusters.ts';
import { configSource, type Discovery } from './config-source.ts';
import { envoyAddress } from './envoy-address.ts';
import { headerFilter, protocolNoted } from './header-filter.ts';
import { IGNORED_UPGRADES, LENGTH_OF_A_BODY } from './matches.ts';
import { givenUp, inOurWords } from './own-answers.ts';
import { notOutside, passthroughFilters } from './passthrough.ts';
import { rateLimited, rateLimitFilter } from './rate-limit.ts';
import type { Resource } from './resource.ts';
import { EGRESS_ROUTES, OUTBOUND_ROUTES } from './routes.ts';
import type { SecretSource } from './secret-source.ts';
import { signingFilters } from './signing.ts';
import { acceptingTls } from './tls.ts';

/** Byte for byte: no request ids, no forwarded-for, no path normalisation, trailers kept, the server's own name kept. */
export function connectionManager(
  name: string,
  discovery: Discovery,
  head: typeof bounds.HEAD,
  {
    filters = [],
    lastFilters = [],
    from = 'apps',
    ...extra
  }: { filters?: object[]; lastFilters?: object[]; from?: 'apps' | 'queue' } & Record<string, unknown>,
) {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type':
        'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: name,
      rds: { route_config_name: name, config_source: configSource(discovery) },
      generate_request_id: false,
      preserve_external_request_id: true,
      skip_xff_append: true,
      server_header_transformation: 'PASS_THROUGH',
      stream_idle_timeout: bounds.STREAM_IDLE,
      request_headers_timeout: bounds.HEAD_PATIENCE,
      max_request_headers_kb: head.kib,
      common_http_protocol_options: { max_headers_count: head.fields },
      // `api.example.` is `api.example`, as for the queue; Host is rewritten anyway.
      strip_trailing_host_dot: true,
      http_protocol_options: {
        enable_trailers: true,
        accept_http_10: true,
        ignore_http_11_upgrade: IGNORED_UPGRADES,
      },
      http2_protocol_options: {
        // Also WebSocket over HTTP/2 (RFC 8441).
        allow_connect: true,
        max_concurrent_streams: bounds.STREAMS,
        initial_stream_window_size: bounds.READ_AHEAD,
        initial_connection_window_size: 16 * bounds.READ_AHEAD,
      },
      http_filters: [
        ...filters,
        headerFilter(from),
        ...signingFilters(),
        ...lastFilters,
        {
          name: 'envoy.filters.http.router',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
            suppress_envoy_headers: true,
          },
        },
      ],
      ...extra,
    },
  };
}

/** Tells the queue which answers are Envoy's own: the destination was not reached. */
const markOwnAnswers = {
  local_reply_config: {
    mappers: [
      {
        filter: { response_flag_filter: {} },
        headers_to_add: [
          {
            header: { key: NO_LINK_HEADER, value: '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%' },
            append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
          },
        ],
      },
    ],
  },
};

/** Of a body that the filter which signs may not hold whole. */
const tooLongToSign = inOurWords(
  {
    ...TOO_LONG_TO_SIGN,
    detail: `Services other than S3 (spec.upstream.sign.aws.service) want a signature over the whole body, and so it has ${SIGNED_BODY_BYTES} bytes at most. Send it in smaller requests.`,
  },
  { only: [{ or_filter: { filters: LENGTH_OF_A_BODY.map((header) => ({ header_filter: { header } })) } }] },
);

const httpListener = (name: string, address: Address, filter: object): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
  name,
  address: envoyAddress(address),
  per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
  filter_chains: [{ filters: [filter] }],
});

/** Only where a route lets it; CONNECT is answered by its own routes alone. */
export const UPGRADES = {
  upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }, { upgrade_type: 'CONNECT' }],
};

/** An app that asks before it sends its body (Expect) is answered by who would take it: Envoy would always say yes. */
export const outboundListener = (address: Address, discovery: Discovery): Resource =>
  httpListener(
    OUTBOUND_ROUTES,
    address,
    connectionManager(OUTBOUND_ROUTES, discovery, bounds.HEAD, {
      filters: [rateLimitFilter],
      lastFilters: passthroughFilters,
      local_reply_config: { mappers: [rateLimited, ...givenUp, notOutside, tooLongToSign] },
      proxy_100_continue: true,
      ...protocolNoted,
      ...UPGRADES,
    }),
  );

/** The queue for sidecars of other machines: who has a certificate of the mesh is passed through, byte for byte. */
export const queueListener = (address: Address, secrets: SecretSource): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
  name: 'layby-queue',
  address: envoyAddress(address),
  per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
  filter_chains: [
    {
      transport_socket: acceptingTls(secrets),
      filters: [
        {
          name: 'envoy.filters.network.tcp_proxy',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
            stat_prefix: 'layby-queue',
            cluster: QUEUE_CLUSTER,
            // As long as the sidecar on the other side likes: it has bounds of its own.
            idle_timeout: '0s',
          },
        },
      ],
    },
  ],
});

/** A pool of connections for each value of the header. An idle connection may be dead without knowing it, where the link has come back with
 *  another address: what is sent on it would hang for as long as TCP hopes. */
const connectionsByHeader = {
  name: 'envoy.filters.http.set_filter_state',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config',
    on_request_headers: [
      {
        object_key: CONNECTIONS_HEADER,
        factory_key: 'envoy.hashable_string',
        format_string: {
          text_format_source: { inline_string: `%REQ(${CONNECTIONS_HEADER})%` },
          omit_empty_values: true,
        },
        shared_with_upstream: 'ONCE',
        skip_if_empty: true,
      },
    ],
  },
};

/** What the upstream says before its answer is passed on: 104 (replay/deliver/ietf.ts), and 100 to a question of the queue (egress/expectations.ts).
 *  Envoy would answer that question by itself, and always say yes. */
export const egressListener = (address: Address, discovery: Discovery): Resource => ({
  ...httpListener(
    EGRESS_ROUTES,
    address,
    connectionManager(EGRESS_ROUTES, discovery, bounds.EGRESS_HEAD, {
      from: 'queue',
      filters: [connectionsByHeader],
      ...markOwnAnswers,
      proxy_100_continue: true,
    }),
  ),
  // Apps that take all connections there may be do not stop the replay.
  ignore_global_conn_limit: true,
});
