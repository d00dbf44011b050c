// From a document that was found right to the destination that the rest of Layby sees: defaults filled in, units resolved, lists in
// one order where their order says nothing.

import { createHash } from 'node:crypto';
import Value from 'typebox/value';
import { parseAddress } from '../wire/address.ts';
import { clusterServiceOf } from './cluster-service.ts';
import { canonicalHost } from './host.ts';
import type {
  Delivered,
  Destination,
  HeaderEdit,
  PathMatch,
  Policy,
  Rule,
  Segmenting,
  Service,
  Treatment,
  Upstream,
} from './policy.ts';
import type { MeshDocument } from './schema/mesh.ts';
import type { ServiceDocument } from './schema/service.ts';
import { type DestinationDocument, DestinationSchema } from './schema.ts';
import { parseDuration, parseRate, parseSize } from './units.ts';

type Spec = DestinationDocument['spec'];
type RuleSpec = NonNullable<Spec['rules']>[number];
type UpstreamSpec = Spec['upstream'];
type TreatmentSpec = Pick<Spec, 'headers' | 'answerTimeout' | 'retries' | 'rateLimit'>;
/** A part of a document with its defaults filled in; the fields named have none. */
type Filled<Part, Bare extends keyof Part> = Required<Omit<Part, Bare>> & Pick<Part, Bare>;
type FilledStore = Filled<NonNullable<Spec['store']>, 'patience' | 'ttl' | 'quota' | 'stream'>;
type BareReplay = 'rate' | 'linkRates' | 'retry' | 'links' | 'budget' | 'delivered';
type FilledReplay = Filled<NonNullable<Spec['replay']>, BareReplay> & {
  retry: { max: string; giveUpAfter: string };
};

type FilledSegment = Record<'bytes' | 'time' | 'name', string>;

const segmentOf = ({ bytes, time, name }: FilledSegment): Segmenting => ({
  bytes: parseSize(bytes),
  time: parseDuration(time),
  name,
});

/** Where a document is. */
export interface Origin {
  /** In a cluster, whose Services it may name. */
  inCluster?: boolean;
}

const targetOf = (text: string, { inCluster }: Origin): Pick<Upstream, 'url' | 'service'> => {
  const { protocol, host, hostname, pathname } = new URL(text);
  const service = inCluster ? clusterServiceOf(hostname) : undefined;
  return { url: `${protocol}//${host}${pathname.replace(/\/+$/, '')}`, ...(service && { service }) };
};

const mapped = <Key extends string>(
  texts: Readonly<Partial<Record<Key, string>>>,
  parse: (text: string) => number,
): Partial<Record<Key, number>> =>
  Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, parse(text as string)])) as Partial<
    Record<Key, number>
  >;

const budgetOf = (
  budget: NonNullable<NonNullable<Spec['replay']>['budget']>,
): NonNullable<Destination['replay']['budget']> =>
  Object.fromEntries(Object.entries(budget).map(([kind, limits]) => [kind, mapped(limits, parseSize)]));

const deliveredOf = ({
  status,
  headers,
  html,
}: NonNullable<NonNullable<Spec['replay']>['delivered']>): Delivered => ({
  ...(status && { status: [...new Set(status)].sort((a, b) => a - b) }),
  ...(headers && { headers: headers.map((header) => ({ ...header, name: header.name.toLowerCase() })) }),
  ...(html && { html }),
});

/** By what it is, so that two rules with one upstream share it, and an edit elsewhere leaves it as it was. No destination has such
 *  a name: theirs have no `@`. */
const named = (destination: string, upstream: Omit<Upstream, 'name'>): Upstream => ({
  ...upstream,
  name: `${destination}@${createHash('sha256').update(JSON.stringify(upstream)).digest('hex').slice(0, 8)}`,
});

/** `own`: it goes by the name of the destination. */
const upstreamOf = (
  destination: string,
  { url, sign, protocol, connectTimeout, split, mirror }: UpstreamSpec,
  own: boolean,
  origin: Origin,
): Upstream => {
  const whole: Omit<Upstream, 'name' | 'split'> = {
    ...targetOf(url, origin),
    ...(sign && { sign }),
    ...(protocol === 'http2' && { protocol }),
    ...(connectTimeout !== undefined && { connectTimeout: parseDuration(connectTimeout) }),
    ...(mirror && { mirror: { ...targetOf(mirror.url, origin), percent: mirror.percent ?? 100 } }),
  };
  const { service: _, ...elsewhere } = whole;
  return {
    ...(own ? whole : named(destination, whole)),
    ...(split && {
      split: split.map((part) => ({
        percent: part.percent,
        to: named(destination, { ...elsewhere, ...targetOf(part.url, origin) }),
      })),
    }),
  };
};

const editOf = ({ set = [], remove = [] }: { set?: string[]; remove?: string[] } = {}): HeaderEdit => ({
  set: set.map((text) => {
    const colon = text.indexOf(':');
    return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
  }),
  remove: [...new Set(remove.map((name) => name.toLowerCase()))].sort(),
});

const treatmentOf = ({
  headers,
  answerTimeout,
  retries,
  rateLimit,
}: TreatmentSpec): Omit<Treatment, 'upstream'> => ({
  ...(headers && { headers: { request: editOf(headers.request), response: editOf(headers.response) } }),
  ...(answerTimeout !== undefined && { answerTimeout: parseDuration(answerTimeout) }),
  ...(retries && {
    retries: { on: [...new Set(retries.on)].sort((a, b) => a - b), attempts: retries.attempts ?? 2 },
  }),
  ...(rateLimit && {
    rateLimit: {
      requests: rateLimit.requests,
      per: parseDuration(rateLimit.per ?? '1s'),
      burst: rateLimit.burst ?? rateLimit.requests,
    },
  }),
});

const methodsOf = (methods: readonly string[]): string[] =>
  [...new Set(methods.map((method) => method.toUpperCase()))].sort();

const ruleOf = (
  destination: string,
  { match, upstream, store, ...treatment }: RuleSpec,
  origin: Origin,
): Rule => {
  const { path, methods, apps } = match;
  const { patience, ttl, ...rest } = store ?? {};
  return {
    match: {
      ...(path && { path: path as PathMatch }),
      ...(methods && { methods: methodsOf(methods) }),
      ...(apps && {
        apps: {
          ...(apps.nodes && { nodes: [...new Set(apps.nodes)].sort() }),
          ...(apps.labels && { labels: [...new Set(apps.labels)].sort() }),
        },
      }),
    },
    changes: {
      ...(upstream && { upstream: upstreamOf(destination, upstream, false, origin) }),
      ...treatmentOf(treatment),
      ...(store && {
        store: {
          ...rest,
          ...(patience !== undefined && { patience: parseDuration(patience) }),
          ...(ttl !== undefined && { ttl: parseDuration(ttl) }),
        },
      }),
    },
  };
};

/** `document`: one that the check found right. */
export const resolve = (document: DestinationDocument, origin: Origin = {}): Destination => {
  const { metadata, spec } = Value.Default(DestinationSchema, document) as DestinationDocument;
  const { patience, ttl, quota, stream, ...store } = spec.store as FilledStore;
  const { rate, linkRates, links, budget, delivered, ...replay } = spec.replay as FilledReplay;
  const { name } = metadata;
  return {
    name,
    // Sorted, since their order says nothing: so it does not change the version either.
    hosts: spec.hosts.map(canonicalHost).sort(),
    upstream: upstreamOf(name, spec.upstream, true, origin),
    ...(spec.tunnel === 'allow' && { tunnel: 'allow' as const }),
    ...treatmentOf(spec),
    ...(spec.rules && { rules: spec.rules.map((rule) => ruleOf(name, rule, origin)) }),
    ...(spec.envoy && { envoy: spec.envoy as Destination['envoy'] & object }),
    store: {
      ...store,
      methods: methodsOf(store.methods),
      ...(patience === undefined ? {} : { patience: parseDuration(patience) }),
      ...(ttl === undefined ? {} : { ttl: parseDuration(ttl) }),
      ...(quota === undefined ? {} : { quota: parseSize(quota) }),
      ...(stream === undefined ? {} : { stream: { segment: segmentOf(stream.segment as FilledSegment) } }),
    },
    replay: {
      ...replay,
      ...(rate === undefined ? {} : { rate: parseRate(rate) }),
      ...(linkRates === undefined ? {} : { linkRates: mapped(linkRates, parseRate) }),
      ...(links === undefined ? {} : { links: [...new Set(links)].sort() }),
      ...(budget === undefined ? {} : { budget: budgetOf(budget) }),
      ...(delivered && { delivered: deliveredOf(delivered) }),
      retry: {
        max: parseDuration(replay.retry.max),
        giveUpAfter: parseDuration(replay.retry.giveUpAfter),
      },
    },
  };
};

/** `document`: one that the check found right. */
export const resolveService = ({ metadata, spec }: ServiceDocument, { inCluster }: Origin = {}): Service => {
  const address = parseAddress(spec.address);
  const pods = inCluster && 'host' in address ? clusterServiceOf(address.host) : undefined;
  return {
    name: metadata.name,
    hosts: spec.hosts.map(canonicalHost).sort(),
    node: spec.node,
    address,
    ...(pods && { pods }),
    app: parseAddress(spec.app),
    ...(spec.protocol === 'http2' && { protocol: 'http2' as const }),
    ...(spec.tunnel === 'allow' && { tunnel: 'allow' as const }),
    allow: [...new Set(spec.allow)].sort(),
  };
};

/** `document`: one that the check found right. */
export const resolveMesh = ({ spec }: MeshDocument): Pick<Policy, 'passthrough'> =>
  spec.passthrough === 'allow' ? { passthrough: 'allow' } : {};
