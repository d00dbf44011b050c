// The routes of what apps call, for one destination: what is in force for a request decides whether it goes to the upstream, to the
// queue, or to the one after the other.

import { bucketHosts } from '../../policy/bucket.ts';
import { appsKey, withRule } from '../../policy/in-force.ts';
import type { Destination, Rule } from '../../policy/policy.ts';
import { SIGNED_BODY_BYTES, signsBody } from '../../policy/signature.ts';
import {
  APPS_HEADER,
  HOST_HEADER,
  IDEMPOTENT,
  NOT_IDEMPOTENT,
  PREFIX_HEADER,
  REQUEST_HEADER,
  STATUS_PREFIX,
  TOKEN_PREFIX,
  UPLOAD_PREFIX,
} from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import {
  directCluster,
  egressCluster,
  failoverCluster,
  mirrorCluster,
  QUEUE_CLUSTER,
  upstreamOf,
} from './clusters.ts';
import { headerEdits } from './header-edits.ts';
import { holdKey, stopKey, whileSet } from './holds.ts';
import { anyPath, GRPC, type Match, oneOf, WEBSOCKET, type Where, whereOf } from './matches.ts';
import { refuse, STOPPED } from './own-answers.ts';
import { patched } from './patch.ts';
import { bucketOf, unlimited } from './rate-limit.ts';
import { formOfS3, signingConfig } from './signing.ts';

/** For which requests the routes are. */
interface Scope {
  where: Where;
  rule: Rule | undefined;
  /** The keys of the selections of apps that the sidecar's is in. */
  apps: readonly string[];
}

const added = (name: string, value: string) => ({
  header: { key: name, value },
  append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
});

/** Ours: what an app had put there is gone by now (header-filter.ts). */
const ownHeaders = (headers: Readonly<Record<string, string>>) =>
  Object.entries(headers).map(([name, value]) => added(name, value));

const appsHeader = (apps: readonly string[]): Record<string, string> =>
  apps.length > 0 ? { [APPS_HEADER]: apps.join() } : {};

/** A queue that is being restarted is waited for: it is back within a second. */
const waitForQueue = {
  retry_on: 'connect-failure,refused-stream,reset,reset-before-request',
  num_retries: 30,
  retry_back_off: { base_interval: '0.1s', max_interval: '0.5s' },
};

const toQueue = (
  destination: Destination,
  { apps, rule }: Scope,
  match: Match,
  kept: number = bounds.RETRY_BUFFER,
) => {
  const filters = headerEdits(destination, { request: false });
  return {
    match,
    request_headers_to_add: ownHeaders({ [REQUEST_HEADER]: '%UNIQUE_ID%', ...appsHeader(apps) }),
    ...(Object.keys(filters).length > 0 ? { typed_per_filter_config: filters } : {}),
    request_body_buffer_limit: String(kept),
    route: {
      cluster: QUEUE_CLUSTER,
      timeout: '0s',
      retry_policy: waitForQueue,
      ...bucketOf(destination, rule),
    },
  };
};

/** They are Layby's own: the policy changes nothing of them. */
const statusPages = (destination: Destination) => ({
  ...pagesBelow(STATUS_PREFIX),
  ...unlimited(destination),
});

/** What the queue answers below `prefix`. */
export const pagesBelow = (prefix: string) => ({
  match: { prefix },
  request_headers_to_add: ownHeaders({ [REQUEST_HEADER]: '%UNIQUE_ID%' }),
  route: { cluster: QUEUE_CLUSTER, timeout: '0s', retry_policy: waitForQueue },
});

/** Copies of a request. */
export function mirrored(destination: Destination): object {
  const { mirror } = destination.upstream;
  if (!mirror) return {};
  const { authority } = upstreamOf({ ...destination, upstream: { url: mirror.url } });
  return {
    request_mirror_policies: [
      {
        cluster: mirrorCluster(destination),
        runtime_fraction: { default_value: { numerator: mirror.percent, denominator: 'HUNDRED' } },
        disable_shadow_host_suffix_append: true,
        host_rewrite_literal: authority,
      },
    ],
  };
}

/** To the upstream, or to several by weight. Where the URL has a path, it goes before the app's; a signed route does that before it
 *  signs, by Lua. */
function upstreams(destination: Destination, clusterOf: (to: Destination) => string): object {
  const { split, ...whole } = destination.upstream;
  const { authority, path } = upstreamOf(destination);
  const rewrite =
    path && !whole.sign ? { regex_rewrite: { pattern: { regex: '^/' }, substitution: `${path}/` } } : {};
  if (!split)
    return {
      cluster: clusterOf(destination),
      host_rewrite_literal: authority,
      ...rewrite,
      ...mirrored(destination),
    };
  const rest = split.reduce((left, { percent }) => left - percent, 100);
  const clusters = [...split, { percent: rest, to: whole }].map(({ percent, to }) => {
    const one = { ...destination, upstream: to };
    return { name: clusterOf(one), weight: percent, host_rewrite_literal: upstreamOf(one).authority };
  });
  return { weighted_clusters: { clusters }, ...rewrite, ...mirrored(destination) };
}

const filtersOf = (destination: Destination, conversation = false) => {
  const filters = {
    ...signingConfig(destination, { fromApp: true, conversation }),
    ...headerEdits(destination, { request: true }),
  };
  return Object.keys(filters).length > 0 ? { typed_per_filter_config: filters } : {};
};

/** How much is kept of a body, bytes: to send it again, and where the signature is also over it, to sign it. */
const keptOf = (destination: Destination): string =>
  String(signsBody(destination) ? SIGNED_BODY_BYTES : bounds.RETRY_BUFFER);

/** Answers that do not count; a request is sent again for them at once, so often. */
const again = ({ retries }: Destination) =>
  retries && {
    retry_on: 'retriable-status-codes',
    retriable_status_codes: retries.on,
    num_retries: retries.attempts,
  };

const direct = (destination: Destination, { rule }: Scope, match: Match) => {
  const { answerTimeout } = destination;
  const retries = again(destination);
  return patched(destination.envoy?.route, {
    match,
    ...filtersOf(destination),
    // For retries, copies and signatures.
    request_body_buffer_limit: keptOf(destination),
    route: {
      ...upstreams(destination, directCluster),
      timeout: answerTimeout === undefined ? '0s' : bounds.seconds(answerTimeout),
      ...(retries && { retry_policy: { ...retries, retry_back_off: bounds.RETRY_PAUSE } }),
      ...bucketOf(destination, rule),
    },
  });
};

const WEBSOCKETS = [{ upgrade_type: 'websocket' }];

/** What is a conversation goes straight to the destination, and is never stored, copied or sent again: nobody could answer for the
 *  other side later. By the patient way, since a stream outlives a short blackhole; and since the end of one would count as a
 *  lost link on the direct way, and send the next request to the queue. */
const streams = (destination: Destination, { where, rule }: Scope): object[] => {
  const { mirror: _, ...upstream } = destination.upstream;
  const to = { ...destination, upstream };
  const conversation = (headers: object[], more: object) =>
    patched(destination.envoy?.route, {
      match: where({ headers }),
      ...filtersOf(destination, true),
      route: { ...upstreams(to, egressCluster), timeout: '0s', ...bucketOf(destination, rule), ...more },
    });
  return [conversation(WEBSOCKET, { upgrade_configs: WEBSOCKETS }), conversation(GRPC, {})];
};

const LOST = 'connect-failure,refused-stream,reset,reset-before-request';
/** One try at the destination, and some at a queue that may just be starting: it and the destination have their turns. */
const TRIES = 7;
/** The same for what is not stored: its app hears soon that there is no link, whatever the queue does. */
const UNSTORED_TRIES = 3;

interface Failover {
  /** A request that is sent again, by Envoy or later by replay, has the key of its first try. */
  idempotencyKey?: boolean;
  /** Whether it may be stored: then an answer that does not count makes it be. */
  storable: boolean;
}

/** How often it is tried at the destination for an answer that does not count: `attempts` more, and then the queue would have its
 *  turn, so there is no more. */
const retriesOf = (destination: Destination, { storable }: Failover) => {
  const { retries } = destination;
  if (!retries) return { retry_on: LOST, num_retries: storable ? TRIES : UNSTORED_TRIES, frequency: 1 };
  const codes = { retriable_status_codes: retries.on };
  const retry_on = `${LOST},retriable-status-codes`;
  return storable
    ? { retry_on, ...codes, num_retries: TRIES, frequency: 1 }
    : { retry_on, ...codes, num_retries: retries.attempts, frequency: retries.attempts + 1 };
};

/** First the destination; when that fails for want of a link, the queue, with what Envoy kept of the body. */
const directThenQueue = (destination: Destination, scope: Scope, match: Match, failover: Failover) => {
  const { answerTimeout } = destination;
  const { path } = upstreamOf(destination);
  // The host is rewritten for the destination before the first try, so the queue is told what the app had called. Its
  // presence also tells the queue that the direct way failed. Signing, and a bucket, rewrite host and path earlier: see signing.ts.
  const bucket = bucketHosts(destination).length > 0;
  const told = {
    [HOST_HEADER]: '%REQ(:AUTHORITY)%',
    ...((path || bucket) && { [PREFIX_HEADER]: path.replaceAll('%', '%%') }),
  };
  const toldBefore = bucket || destination.upstream.sign !== undefined;
  const { frequency, ...policy } = retriesOf(destination, failover);
  return patched(destination.envoy?.route, {
    match,
    ...filtersOf(destination),
    request_headers_to_add: [
      ...(failover.idempotencyKey
        ? [{ header: { key: 'idempotency-key', value: '%UNIQUE_ID%' }, append_action: 'ADD_IF_ABSENT' }]
        : []),
      ...ownHeaders({ ...(!toldBefore && told), ...appsHeader(scope.apps) }),
    ],
    request_body_buffer_limit: keptOf(destination),
    route: {
      ...upstreams(destination, failoverCluster),
      // What may be stored goes to the queue then.
      timeout: answerTimeout === undefined || failover.storable ? '0s' : bounds.seconds(answerTimeout),
      retry_policy: {
        ...policy,
        ...(answerTimeout !== undefined &&
          failover.storable && { per_try_timeout: bounds.seconds(answerTimeout) }),
        retry_back_off: frequency > 1 ? bounds.RETRY_PAUSE : { base_interval: '0.01s', max_interval: '0.5s' },
        retry_priority: {
          name: 'envoy.retry_priorities.previous_priorities',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
            update_frequency: frequency,
          },
        },
      },
      ...bucketOf(destination, scope.rule),
    },
  });
};

/** Bodies that are longer than what Envoy can send a second time. */
const LONG = {
  name: 'content-length',
  range_match: { start: String(bounds.RETRY_BUFFER), end: String(Number.MAX_SAFE_INTEGER) },
};

const tooLong = (where: Where, methods: string[]): Match => where({ headers: [LONG, oneOf(methods)] });

/** Conversations. A route that answers by itself cannot let a WebSocket in, and Envoy would say 403: to the queue it is a read without a link. */
const stoppedStreams = (destination: Destination): object[] => {
  const stopped = whileSet(stopKey(destination.name));
  return [
    {
      match: anyPath({ headers: WEBSOCKET, ...stopped }),
      request_headers_to_add: ownHeaders({ [REQUEST_HEADER]: '%UNIQUE_ID%' }),
      route: { cluster: QUEUE_CLUSTER, timeout: '0s', upgrade_configs: WEBSOCKETS },
    },
    refuse(STOPPED, anyPath({ headers: GRPC, ...stopped })),
  ];
};

/** Nothing is stored. What may be sent a second time has the queue behind it all the same: it asks once more where the server had closed
 *  the connection. */
const unstored = (scope: Scope, destination: Destination): object[] => {
  const { where } = scope;
  return [
    refuse(STOPPED, where(whileSet(stopKey(destination.name)))),
    direct(destination, scope, where({ headers: [LONG] })),
    directThenQueue(destination, scope, where({ headers: [oneOf(IDEMPOTENT)] }), { storable: false }),
    direct(destination, scope, where()),
  ];
};

/** Bodies that may be. */
function ofUnknownLength(where: Where, methods: string[]): Match[] {
  const withBody = methods.filter((method) => method !== 'DELETE');
  return [
    where({ headers: [{ name: 'transfer-encoding', present_match: true }, oneOf(methods)] }),
    ...(withBody.length > 0
      ? [
          where({
            headers: [{ name: 'content-length', present_match: true, invert_match: true }, oneOf(withBody)],
          }),
        ]
      : []),
  ];
}

const mayBeS3 = ({ upstream: { sign }, store: { receipt } }: Destination): boolean =>
  sign?.aws.service === 's3' || receipt === 's3' || receipt === 'auto';

/** What only the queue can take of S3's requests, whatever the link. */
function ownToQueue(where: Where, destination: Destination): Match[] {
  const { store } = destination;
  if (!mayBeS3(destination)) return [];
  const upload = (match: object) => where({ query_parameters: [{ name: 'uploadId', ...match }] });
  return [
    // Where requests may overtake one another, the end of an upload must still not overtake its parts in the queue.
    store.order === 'none'
      ? upload({ present_match: true })
      : upload({ string_match: { prefix: UPLOAD_PREFIX } }),
    where({
      query_parameters: [{ name: 'continuation-token', string_match: { prefix: TOKEN_PREFIX } }],
    }),
  ];
}

/** Of S3's bodies in chunks. Signed anew as one payload they would be stored with their frames. */
const FRAMED = [
  { name: 'x-amz-content-sha256', string_match: { prefix: 'STREAMING-' } },
  { name: 'content-encoding', string_match: { contains: 'aws-chunked', ignore_case: true } },
];

/** What is to be signed, and goes through the queue for it. */
function signedBehindQueue(where: Where, destination: Destination): Match[] {
  const form = formOfS3(destination);
  const framed = destination.upstream.sign && mayBeS3(destination) ? FRAMED : [];
  return [
    ...(form ? [where({ headers: form })] : []),
    ...framed.map((header) => where({ headers: [header] })),
    // The destination, which is to say whether it wants the body, hears of it only when all of it is here.
    ...(signsBody(destination) ? [where({ headers: [{ name: 'expect', present_match: true }] })] : []),
  ];
}

/** `destination`: as it is for these requests. */
const routesIn = (scope: Scope, destination: Destination): object[] => [
  ...streams(destination, scope),
  ...messagesIn(scope, destination),
];

/** Those of requests that have an end. */
function messagesIn(scope: Scope, destination: Destination): object[] {
  const { where } = scope;
  const { mode, methods } = destination.store;
  const throughQueue = signedBehindQueue(where, destination);
  if (mode === 'never' || methods.length === 0)
    return [
      ...throughQueue.map((match) => toQueue(destination, scope, match)),
      ...unstored(scope, destination),
    ];
  const held = where(whileSet(holdKey(destination.name)));
  const storable =
    mode === 'always' ? [where({ headers: [oneOf(methods)] })] : ofUnknownLength(where, methods);
  // Else one route does for both: routes are sent to every sidecar.
  const differs = destination.retries !== undefined || destination.answerTimeout !== undefined;
  const others = methods.filter((method) => !NOT_IDEMPOTENT.includes(method));
  return [
    // To be sent again it would have to be kept whole: what is kept of it is memory for nothing.
    toQueue(destination, scope, tooLong(where, methods), bounds.KEPT_OF_LONG),
    ...[held, ...ownToQueue(where, destination), ...throughQueue, ...storable].map((match) =>
      toQueue(destination, scope, match),
    ),
    directThenQueue(destination, scope, where({ headers: [oneOf(NOT_IDEMPOTENT)] }), {
      idempotencyKey: true,
      storable: true,
    }),
    ...(differs && others.length > 0
      ? [directThenQueue(destination, scope, where({ headers: [oneOf(others)] }), { storable: true })]
      : []),
    directThenQueue(destination, scope, where(), { storable: !differs }),
  ];
}

/** `apps`: the keys of the destination's selections of apps that the sidecar's is in. */
export function outboundRoutes(destination: Destination, apps: readonly string[]): object[] {
  const ruled = (destination.rules ?? []).filter(
    ({ match }) => !match.apps || apps.includes(appsKey(match.apps)),
  );
  return [
    statusPages(destination),
    ...stoppedStreams(destination),
    ...ruled.flatMap((rule) => routesIn({ where: whereOf(rule), rule, apps }, withRule(destination, rule))),
    ...routesIn({ where: anyPath, rule: undefined, apps }, destination),
  ];
}
