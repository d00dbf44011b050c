// The routes of the outbound listener (what apps call) and of the egress listener (what the queue sends).

import type { Destination, Policy } from '../../policy/policy.ts';
import {
  DESTINATION_HEADER,
  HOST_HEADER,
  IMPATIENT,
  NOT_IDEMPOTENT,
  OWN_HEADERS,
  PATIENCE_HEADER,
  REQUEST_HEADER,
  STATUS_PREFIX,
  UPLOAD_PREFIX,
} from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import { directCluster, egressCluster, QUEUE_CLUSTER, upstreamOf } from './clusters.ts';
import { holdKey } from './holds.ts';
import type { Resource } from './resource.ts';
import { SIGNABLE_PATH, signingConfig } from './signing.ts';

export const OUTBOUND_ROUTES = 'outbound';
export const EGRESS_ROUTES = 'egress';

const ROUTES = 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration';

interface Match {
  prefix: string;
  headers?: object[];
  query_parameters?: object[];
  runtime_fraction?: object;
}

const anyPath = (match: Omit<Match, 'prefix'> = {}): Match => ({ prefix: '/', ...match });

const oneOf = (methods: string[]) => ({
  name: ':method',
  string_match: { safe_regex: { regex: methods.join('|') } },
});

/** Never set by an app: what an app sends under these names is taken off. */
const internalHeaders = { request_headers_to_remove: OWN_HEADERS };

/** A queue that is being restarted is waited for: it is back within a second. */
const waitForQueue = {
  retry_on: 'connect-failure,refused-stream,reset,reset-before-request',
  num_retries: 30,
  retry_back_off: { base_interval: '0.1s', max_interval: '0.5s' },
};

const toQueue = (match: Match) => ({
  match,
  request_headers_to_remove: OWN_HEADERS.filter((name) => name !== REQUEST_HEADER),
  request_headers_to_add: [
    {
      header: { key: REQUEST_HEADER, value: '%UNIQUE_ID%' },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    },
  ],
  route: { cluster: QUEUE_CLUSTER, timeout: '0s', retry_policy: waitForQueue },
});

/** Where the upstream's URL has a path, it goes before the app's. A signed route does that before it signs, by Lua. */
function rewrites(destination: Destination) {
  const { authority, path } = upstreamOf(destination);
  return {
    host_rewrite_literal: authority,
    ...(path && !destination.upstream.sign
      ? { regex_rewrite: { pattern: { regex: '^/' }, substitution: `${path}/` } }
      : {}),
  };
}

function signed(destination: Destination) {
  const config = signingConfig(destination, { fromApp: true });
  return config ? { typed_per_filter_config: config } : {};
}

const direct = (destination: Destination) => ({
  match: anyPath(),
  ...internalHeaders,
  ...signed(destination),
  route: { cluster: directCluster(destination), timeout: '0s', ...rewrites(destination) },
});

/** A request that is sent again, by Envoy or later by replay, has the key of its first try. */
const idempotencyKey = {
  header: { key: 'idempotency-key', value: '%UNIQUE_ID%' },
  append_action: 'ADD_IF_ABSENT',
};

/** First the destination; when that fails for want of a link, the queue, with what Envoy kept of the body. */
const directThenQueue = (destination: Destination, match: Match, added: object[] = []) => ({
  match,
  ...signed(destination),
  // The host is rewritten for the destination before the first try, so the queue is told what the app had called. Its
  // presence also tells the queue that the direct way failed.
  request_headers_to_remove: OWN_HEADERS.filter((name) => name !== HOST_HEADER),
  request_headers_to_add: [
    ...added,
    // Signing rewrites the host earlier than this: see signing.ts.
    ...(destination.upstream.sign
      ? []
      : [
          {
            header: { key: HOST_HEADER, value: '%REQ(:AUTHORITY)%' },
            append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
          },
        ]),
  ],
  request_body_buffer_limit: String(bounds.RETRY_BUFFER),
  route: {
    cluster: destination.name,
    timeout: '0s',
    ...rewrites(destination),
    retry_policy: {
      retry_on: 'connect-failure,refused-stream,reset,reset-before-request',
      num_retries: 6,
      per_try_idle_timeout: bounds.ANSWER_PATIENCE,
      retry_back_off: { base_interval: '0.01s', max_interval: '0.5s' },
      retry_priority: {
        name: 'envoy.retry_priorities.previous_priorities',
        typed_config: {
          '@type':
            'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
          update_frequency: 1,
        },
      },
    },
  },
});

/** Bodies that Envoy could not send a second time: longer than its buffer, or of unknown length. */
function beyondBuffer(methods: string[]): Match[] {
  const withBody = methods.filter((method) => method !== 'DELETE');
  return [
    anyPath({
      headers: [
        oneOf(methods),
        {
          name: 'content-length',
          range_match: { start: String(bounds.RETRY_BUFFER), end: String(Number.MAX_SAFE_INTEGER) },
        },
      ],
    }),
    anyPath({ headers: [oneOf(methods), { name: 'transfer-encoding', present_match: true }] }),
    ...(withBody.length > 0
      ? [
          anyPath({
            headers: [oneOf(withBody), { name: 'content-length', present_match: true, invert_match: true }],
          }),
        ]
      : []),
  ];
}

/** What only the queue can take of S3's requests, whatever the link. */
function ownToQueue({ upstream, store }: Destination): Match[] {
  const { sign } = upstream;
  if (sign?.aws.service !== 's3' && !/^(s3|auto)$/.test(store.receipt)) return [];
  const upload = (match: object) => anyPath({ query_parameters: [{ name: 'uploadId', ...match }] });
  return [
    // Where requests may overtake one another, the end of an upload must still not overtake its parts in the queue.
    store.order === 'none'
      ? upload({ present_match: true })
      : upload({ string_match: { prefix: UPLOAD_PREFIX } }),
    // Signed anew as one payload, a body framed in chunks would be stored with its frames.
    ...(sign
      ? [
          { name: 'x-amz-content-sha256', string_match: { prefix: 'STREAMING-' } },
          { name: 'content-encoding', string_match: { contains: 'aws-chunked', ignore_case: true } },
        ].map((header) => anyPath({ headers: [header] }))
      : []),
  ];
}

function outboundRoutes(destination: Destination): object[] {
  const statusPages = toQueue({ prefix: STATUS_PREFIX });
  const { mode, methods } = destination.store;
  if (mode === 'never' || methods.length === 0) return [statusPages, direct(destination)];
  const held = toQueue(
    anyPath({
      runtime_fraction: {
        default_value: { numerator: 0, denominator: 'HUNDRED' },
        runtime_key: holdKey(destination.name),
      },
    }),
  );
  const storable = mode === 'always' ? [anyPath({ headers: [oneOf(methods)] })] : beyondBuffer(methods);
  const unsignable = destination.upstream.sign
    ? [
        anyPath({
          headers: [
            { name: ':path', string_match: { safe_regex: { regex: SIGNABLE_PATH } }, invert_match: true },
          ],
        }),
      ]
    : [];
  return [
    statusPages,
    held,
    ...[...ownToQueue(destination), ...storable, ...unsignable].map(toQueue),
    directThenQueue(destination, anyPath({ headers: [oneOf(NOT_IDEMPOTENT)] }), [idempotencyKey]),
    directThenQueue(destination, anyPath()),
  ];
}

/** `*.example` and `dashcam.example` as Envoy's domains; the port is ignored by the route configuration. */
const domains = (destination: Destination): string[] => destination.hosts;

const refuse = (status: number, title: string, match: Match = anyPath()) => ({
  match,
  direct_response: {
    status,
    body: { inline_string: `${JSON.stringify({ type: 'about:blank', title, status })}\n` },
  },
  response_headers_to_add: [
    {
      header: { key: 'content-type', value: 'application/problem+json' },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    },
  ],
});

/** As the queue reads an authority (policy/match.ts), a trailing dot apart. Envoy would let a user, an empty label or any port
 *  pass under a wildcard: with a link they would work, and without one be refused. */
const AUTHORITY = '(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*)(:[0-9]*)?';

const badAuthority = refuse(
  400,
  'Layby: the Host header or the authority of the URL is not a host and a port',
  anyPath({
    headers: [{ name: ':authority', string_match: { safe_regex: { regex: AUTHORITY } }, invert_match: true }],
  }),
);

/** A petabyte. No route compares longer numbers, and no body has such a length. */
const absurdLength = refuse(
  413,
  'Layby: the Content-Length is that of no body',
  anyPath({
    headers: [{ name: 'content-length', string_match: { safe_regex: { regex: '0*[1-9][0-9]{15,}' } } }],
  }),
);

export function outboundRouteConfiguration(policy: Policy): Resource {
  return {
    '@type': ROUTES,
    name: OUTBOUND_ROUTES,
    ignore_port_in_host_matching: true,
    virtual_hosts: [
      ...policy.destinations.map((destination) => ({
        name: destination.name,
        domains: domains(destination),
        routes: [badAuthority, absurdLength, ...outboundRoutes(destination)],
      })),
      {
        name: 'unnamed',
        domains: ['*'],
        routes: [refuse(421, 'Layby: no destination of the policy names this host')],
      },
    ],
  };
}

/** Two ways: the queue is impatient while an app waits for the answer, and patient in replay. */
function egressRoutes(destination: Destination): object[] {
  const config = signingConfig(destination, { fromApp: false });
  const named = { name: DESTINATION_HEADER, string_match: { exact: destination.name } };
  const impatient = { name: PATIENCE_HEADER, string_match: { exact: IMPATIENT } };
  return [
    { headers: [named, impatient], cluster: directCluster(destination) },
    { headers: [named], cluster: egressCluster(destination) },
  ].map(({ headers, cluster }) => ({
    match: anyPath({ headers }),
    ...internalHeaders,
    ...(config ? { typed_per_filter_config: config } : {}),
    route: { cluster, timeout: '0s', host_rewrite_literal: upstreamOf(destination).authority },
  }));
}

/** The queue names the destination, and sends the path and host that the upstream wants: nothing is rewritten here. */
export function egressRouteConfiguration(policy: Policy): Resource {
  return {
    '@type': ROUTES,
    name: EGRESS_ROUTES,
    virtual_hosts: [
      {
        name: 'egress',
        domains: ['*'],
        routes: [...policy.destinations.flatMap(egressRoutes), refuse(421, 'Layby: no such destination')],
      },
    ],
  };
}
