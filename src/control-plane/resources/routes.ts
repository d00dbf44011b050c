// The route configurations: `outbound` (what apps call; a destination's own routes are in outbound.ts) and `egress` (what the queue
// sends).

import type { App } from '../../policy/in-force.ts';
import { keysOf, upstreamsOf } from '../../policy/in-force.ts';
import type { Destination, Policy } from '../../policy/policy.ts';
import { SIGNED_BODY_BYTES, signsBody } from '../../policy/signature.ts';
import { upstreamName } from '../../policy/upstream.ts';
import {
  DESTINATION_HEADER,
  ENTRIES_PREFIX,
  IMPATIENT,
  PATIENCE_HEADER,
  PROTOCOL_HEADER,
} from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import { directCluster, egressCluster, upstreamOf } from './clusters.ts';
import { anyPath, authority, connect, NO_LENGTH, oneOf } from './matches.ts';
import { mirrored, outboundRoutes, pagesBelow } from './outbound.ts';
import { refuse } from './own-answers.ts';
import { passthroughRoutes } from './passthrough.ts';
import { patched } from './patch.ts';
import { rateLimits } from './rate-limit.ts';
import type { Resource } from './resource.ts';
import { formOfS3, signingConfig } from './signing.ts';
import { connectRoutes } from './tunnels.ts';

export const OUTBOUND_ROUTES = 'outbound';
export const EGRESS_ROUTES = 'egress';

const ROUTES = 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration';

/** `*.example` and `dashcam.example` as Envoy's domains; the port is ignored by the route configuration. */
const domains = (destination: Destination): string[] => destination.hosts;

/** What no destination takes. `hosts`: of the virtual host. */
const refusals = (hosts: readonly string[]): object[] => [
  refuse(
    { status: 400, title: 'Layby: the Host header or the authority of the URL is not a host and a port' },
    anyPath({
      headers: [
        { name: ':authority', string_match: { safe_regex: { regex: authority(hosts) } }, invert_match: true },
      ],
    }),
  ),
  refuse(
    { status: 413, title: 'Layby: the Content-Length is that of no body' },
    anyPath({ headers: [NO_LENGTH] }),
  ),
  // A line break in the URL of a request in absolute form makes a line without a version of it, which Envoy takes for HTTP/0.9: the
  // rest, and the body with it, it would not read.
  refuse(
    { status: 400, title: 'Layby: HTTP/1.0, or a request line without a version, and no Content-Length' },
    anyPath({
      headers: [
        { name: PROTOCOL_HEADER, string_match: { exact: 'HTTP/1.0' } },
        { name: 'content-length', present_match: true, invert_match: true },
        { ...oneOf(['GET', 'HEAD']), invert_match: true },
      ],
    }),
  ),
];

/** The calls of an app to a destination. */
function virtualHost(destination: Destination, app: App): object {
  const filters = rateLimits(destination);
  return patched(destination.envoy?.virtualHost, {
    name: destination.name,
    domains: domains(destination),
    ...(Object.keys(filters).length > 0 ? { typed_per_filter_config: filters } : {}),
    routes: [
      ...connectRoutes(destination),
      ...refusals(destination.hosts),
      ...outboundRoutes(destination, keysOf(destination, app)),
    ],
  });
}

const hostUnknown = {
  status: 421,
  type: 'host-unknown',
  title: 'Layby: no destination of the policy names this host',
  detail:
    'No document of the policy names %REQ(:AUTHORITY)%. The operator adds it to spec.hosts of a Destination, or lets calls to hosts without one pass: spec.passthrough of a Mesh.',
};

/** Calls to hosts that nothing in the policy names. A receipt from before still leads to its page; where calls pass, the host has its own
 *  pages. */
const unnamed = ({ passthrough }: Policy): object[] =>
  passthrough === 'allow'
    ? passthroughRoutes(refusals(['*']))
    : [refuse(hostUnknown, connect()), pagesBelow(ENTRIES_PREFIX), refuse(hostUnknown)];

/** `more`: other virtual hosts. */
export function outboundRouteConfiguration(policy: Policy, app: App, more: object[] = []): Resource {
  return {
    '@type': ROUTES,
    name: OUTBOUND_ROUTES,
    ignore_port_in_host_matching: true,
    virtual_hosts: [
      ...policy.destinations.map((destination) => virtualHost(destination, app)),
      ...more,
      { name: 'layby/unnamed', domains: ['*'], routes: unnamed(policy) },
    ],
  };
}

/** Two ways to each upstream: the queue is impatient while an app waits for the answer, and patient in replay. */
function egressRoutes(destination: Destination): object[] {
  const config = signingConfig(destination, { fromApp: false });
  const form = formOfS3(destination);
  const named = { name: DESTINATION_HEADER, string_match: { exact: upstreamName(destination) } };
  const impatient = { name: PATIENCE_HEADER, string_match: { exact: IMPATIENT } };
  const ways = [
    { headers: [named, impatient], cluster: directCluster(destination) },
    { headers: [named], cluster: egressCluster(destination) },
  ];
  const unsigned = form
    ? ways.map(({ headers, cluster }) => ({ headers: [...headers, ...form], cluster }))
    : [];
  return [
    ...unsigned.map((way) => ({ ...way, filters: undefined })),
    ...ways.map((way) => ({ ...way, filters: config })),
  ].map(({ headers, cluster, filters }) =>
    patched(destination.envoy?.route, {
      match: anyPath({ headers }),
      ...(filters ? { typed_per_filter_config: filters } : {}),
      // For copies, and for signatures over the body.
      ...(destination.upstream.mirror && { request_body_buffer_limit: String(bounds.RETRY_BUFFER) }),
      ...(signsBody(destination) && { request_body_buffer_limit: String(SIGNED_BODY_BYTES) }),
      route: {
        cluster,
        timeout: '0s',
        host_rewrite_literal: upstreamOf(destination).authority,
        ...mirrored(destination),
      },
    }),
  );
}

/** The queue names the destination, and sends the path that the upstream wants; what is signed is spelled as it is signed. */
export function egressRouteConfiguration(policy: Policy): Resource {
  return {
    '@type': ROUTES,
    name: EGRESS_ROUTES,
    virtual_hosts: [
      {
        name: 'egress',
        domains: ['*'],
        routes: [
          ...policy.destinations.flatMap((destination) =>
            upstreamsOf(destination).flatMap((upstream) => egressRoutes({ ...destination, upstream })),
          ),
          refuse({ status: 421, title: 'Layby: no such destination' }),
        ],
      },
    ],
  };
}
