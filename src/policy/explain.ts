// What happens to one request, in words: whose it is, what is in force for it and by which rule, with a link and without. Pure; it
// decides nothing, and asks the functions that do.

import { formatAddress } from '../wire/address.ts';
import { appsKey, ruleFor, withRule } from './in-force.ts';
import { destinationFor, serviceFor } from './match.ts';
import type { Destination, Policy, Rule, Service } from './policy.ts';
import { seconds } from './units.ts';

export interface Question {
  method: string;
  /** As the app wrote them. */
  authority: string;
  path: string;
  /** The keys of the selections of apps that its sidecar is in, by destination. */
  apps: (destination: Destination) => readonly string[];
}

export interface Explanation {
  method: string;
  url: string;
  destination: string | null;
  /** What the rule matches, in words, and its number from 1; null: none matches, and the destination's own fields are in force. */
  rule: { number: number; match: string } | null;
  upstream?: { url: string; split?: { url: string; percent: number }[]; mirror?: string; signed?: string };
  stored: boolean;
  mode?: string;
  receipt?: string;
  order?: string;
  class?: string;
  /** What happens while the way is free, while it is not, and afterwards. */
  withSignal: string;
  withoutSignal: string;
  afterwards?: string;
  /** Why it is so, and what else is done to it. */
  why: string[];
}

export const matchInWords = ({ match: { path, methods, apps } }: Rule): string => {
  const words = [
    ...(methods ? [methods.join(' or ')] : []),
    ...Object.entries(path ?? {}).map(([kind, value]) => `path ${kind} ${value}`),
    ...(apps?.nodes ? [`node ${apps.nodes.join(' or ')}`] : []),
    ...(apps?.labels ? [`label ${apps.labels.join(' and ')}`] : []),
  ];
  return words.join(', ') || 'every request';
};

const RECEIPTS: Record<Destination['store']['receipt'], string> = {
  redirect: '307 to its status page',
  accepted: '202',
  s3: '200 with the ETag, as S3 would say',
  auto: '200 with the ETag where an S3 SDK asks, else 307 to its status page',
};

const ORDERS: Record<Destination['store']['order'], string> = {
  none: 'none: it overtakes, and is overtaken',
  key: 'key: what is for the same host and path keeps its order',
  strict: 'strict: all requests of the destination keep their order',
};

const deliveredInWords = ({
  status,
  headers,
  html,
}: NonNullable<Destination['replay']['delivered']>): string =>
  [
    `${status ? status.join(', ') : '200 to 299'}`,
    ...(headers ? [`with ${headers.map(({ name }) => name).join(', ')}`] : []),
    ...(html ? [`HTML pages: ${html}`] : []),
  ].join('; ');

/** What is in force, beside storing. */
const treatment = ({ tunnel, headers, answerTimeout, retries, rateLimit, envoy }: Destination): string[] => [
  ...(tunnel ? ['tunnels (CONNECT, TLS) are allowed: nothing of them is stored'] : []),
  ...(headers ? [`headers are edited: ${headerWords(headers)}`] : []),
  ...(answerTimeout === undefined ? [] : [`an answer may take ${seconds(answerTimeout)}`]),
  ...(retries ? [`${retries.on.join(', ')} do not count as answers`] : []),
  ...(rateLimit
    ? [
        `${rateLimit.requests} requests per ${seconds(rateLimit.per)} and sidecar, ${rateLimit.burst} at once; more get 429`,
      ]
    : []),
  ...(envoy
    ? ['patches in Envoy’s own words are applied: `layby policy dump` shows what comes of them']
    : []),
];

const headerWords = ({ request, response }: NonNullable<Destination['headers']>): string =>
  [
    ...request.set.map(([name]) => `+${name}`),
    ...request.remove.map((name) => `-${name}`),
    ...response.set.map(([name]) => `+${name} in answers`),
    ...response.remove.map((name) => `-${name} in answers`),
  ].join(', ');

/** Which apps a rule is passed over for. */
const passedOver = ({ rules = [] }: Destination, apps: readonly string[]): string[] => {
  const others = rules.flatMap(({ match }, i) =>
    match.apps && !apps.includes(appsKey(match.apps)) ? [i + 1] : [],
  );
  return others.length > 0 ? [`rule ${others.join(', ')} is for other apps`] : [];
};

const upstreamOf = ({
  upstream: { url, split, mirror, sign },
}: Destination): NonNullable<Explanation['upstream']> => ({
  url,
  ...(split && { split: split.map(({ percent, to }) => ({ url: to.url, percent })) }),
  ...(mirror && { mirror: `${mirror.percent} % to ${mirror.url}` }),
  ...(sign && { signed: `AWS Signature Version 4, ${sign.aws.service} in ${sign.aws.region}` }),
});

function explainService(asked: Pick<Explanation, 'method' | 'url'>, service: Service): Explanation {
  const { name, node, address, allow, tunnel } = service;
  const words = `goes from sidecar to sidecar, to ${formatAddress(address)} over TLS; nothing of it is stored`;
  return {
    ...asked,
    ...{ destination: null, rule: null, stored: false, withSignal: words, withoutSignal: words },
    why: [
      `service ${name}, beside the sidecar ${node}, is called by that host`,
      `may call it: ${allow.join(', ')}`,
      ...(tunnel ? ['tunnels (CONNECT) to it are allowed'] : []),
    ],
  };
}

export function explain(policy: Policy, question: Question): Explanation {
  const { method, authority, path } = question;
  const asked = { method, url: `http://${authority}${path}` };
  const service = serviceFor(policy, authority);
  if (service) return explainService(asked, service);
  const destination = destinationFor(policy, authority);
  if (!destination && policy.passthrough === 'allow')
    return {
      ...asked,
      ...{ destination: null, rule: null, stored: false },
      withSignal: `goes straight to ${authority}, as the app sent it`,
      withoutSignal: 'fails with 503, as without Layby: nothing of it is stored',
      why: [
        `no destination of the policy names the host ${authority}`,
        'passthrough is allow: such hosts may be called; not addresses of the sidecar itself or of its own link (403)',
      ],
    };
  if (!destination) {
    const words = 'refused with 421 by the sidecar: nothing of it is stored or sent';
    return {
      ...asked,
      ...{ destination: null, rule: null, stored: false, withSignal: words, withoutSignal: words },
      why: [
        `no destination of the policy names the host ${authority}`,
        'passthrough is deny: a document of kind Mesh can allow such hosts',
      ],
    };
  }
  const apps = question.apps(destination);
  const rule = ruleFor(destination, { method, path, apps });
  const number = rule ? destination.rules!.indexOf(rule) + 1 : 0;
  const inForce = rule ? withRule(destination, rule) : destination;
  const { mode, methods, receipt, order, ttl, patience } = inForce.store;
  const stored = mode !== 'never' && methods.includes(method);
  const by = rule?.changes.store?.mode ? `rule ${number}` : `destination ${destination.name}`;
  const to = inForce.upstream.url;
  return {
    ...asked,
    destination: destination.name,
    rule: rule ? { number, match: matchInWords(rule) } : null,
    upstream: upstreamOf(inForce),
    stored,
    mode,
    ...(stored && {
      receipt: `${receipt}: ${RECEIPTS[receipt]}`,
      order: ORDERS[order],
      class: inForce.store.class,
    }),
    ...ways(inForce, stored, to, RECEIPTS[receipt], method),
    why: [
      mode === 'never'
        ? `store.mode is never (${by})`
        : stored
          ? `store.mode is ${mode} (${by}), and store.methods has ${method}`
          : `store.methods (${methods.join(', ')}) does not have ${method}`,
      ...passedOver(destination, apps),
      ...(stored && ttl !== undefined ? [`what waits longer than ${seconds(ttl)} is dropped`] : []),
      ...(stored && patience !== undefined
        ? [`an app whose body passes the queue waits ${seconds(patience)} for the answer`]
        : []),
      ...(stored && inForce.replay.delivered
        ? [`counts as delivered: ${deliveredInWords(inForce.replay.delivered)}`]
        : []),
      ...treatment(inForce),
    ],
  };
}

function ways(
  { store: { mode, order }, retries }: Destination,
  stored: boolean,
  to: string,
  receipt: string,
  method: string,
): Pick<Explanation, 'withSignal' | 'withoutSignal' | 'afterwards'> {
  if (mode === 'never')
    return {
      withSignal: `goes straight to ${to}`,
      withoutSignal: 'fails with 503, as without Layby: nothing of it is stored',
    };
  if (!stored)
    return {
      withSignal: `goes straight to ${to}`,
      withoutSignal: /^(GET|HEAD)$/.test(method)
        ? 'is answered from what waits for this very URL, else with 503'
        : 'fails with 503: nothing of it is stored',
    };
  const afterwards = `sent once there is a link${order === 'none' ? '' : ', after what is older and keeps its order'}`;
  const app = `is stored; the app hears ${receipt}`;
  if (mode === 'always') return { withSignal: app, withoutSignal: app, afterwards };
  return {
    withSignal: `goes straight to ${to}; over 1 MiB or of unknown length through the queue, which sends it on at once${
      order === 'none' ? '' : '. While older ones wait that must go first, it is stored behind them'
    }${retries ? `. Answered with ${retries.on.join(', ')} it is stored` : ''}`,
    withoutSignal: app,
    afterwards,
  };
}
