// What a schema cannot say of a destination document: units, names, and what does not go together. Each check takes a value that
// the schema may have found wrong, and then says nothing of it.

import { isIPv6 } from 'node:net';
import { RE2JS } from 're2js';
import { messageOf } from '../telemetry/error.ts';
import { OWN_HEADERS } from '../wire/names.ts';
import type { Path } from './documents.ts';
import { type Finding, isMapping, shown } from './finding.ts';
import { LINK_KINDS } from './policy.ts';
import { isSignable, SIGNED_BODY_BYTES, signsBodyOf } from './signature.ts';
import { parseDuration, parseRate, parseSize, seconds } from './units.ts';

/** What is wrong with a text; undefined: nothing. */
type TextCheck = (value: string) => string | undefined;
type Step = string | number;

// The answer to a request that only reads is its whole point, and CONNECT has no body that could be kept.
const NEVER_STORED = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT']);
/** What frames a message or belongs to one hop (RFC 9110 section 7.6.1), and what Layby makes itself. */
const NOT_TO_EDIT = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  ...['content-length', 'host', 'expect', ...OWN_HEADERS],
]);
/** Envoy fills a bucket no more often, ms. */
const SHORTEST_FILL_MS = 50;
/** The queue's receipt is an answer too, and may take a hold's patience and some fsyncs; asked again, it would store twice; ms. */
const SHORTEST_ANSWER_MS = 2_000;
/** A shorter bound would make dead letters of what a server refuses while it is started. */
const SHORTEST_GIVE_UP_MS = 60_000;

const host: TextCheck = (value) => {
  if (!value.startsWith('['))
    return value.split('.').includes('')
      ? `expected a host without empty labels, but found ${shown(value)}`
      : undefined;
  return isIPv6(value.slice(1, -1))
    ? undefined
    : `expected an IPv6 address in the brackets, but found ${shown(value)}`;
};

const url: TextCheck = (value) =>
  URL.canParse(value) ? undefined : `expected a valid URL, but found ${shown(value)}`;

const storable: TextCheck = (value) =>
  NEVER_STORED.has(value.toUpperCase()) ? `${value} cannot be stored: remove it` : undefined;

const unit =
  (parse: (text: string) => number): TextCheck =>
  (value) => {
    try {
      parse(value);
      return undefined;
    } catch (thrown) {
      return messageOf(thrown);
    }
  };

const atLeast =
  (ms: number): TextCheck =>
  (value) =>
    unit(parseDuration)(value) ??
    (parseDuration(value) < ms ? `expected at least ${seconds(ms)}, but found ${value}` : undefined);

const regex: TextCheck = (value) => {
  try {
    RE2JS.compile(value);
    return undefined;
  } catch (thrown) {
    return `expected a regular expression as RE2 knows it, but found ${shown(value)}: ${messageOf(thrown)}`;
  }
};

const headerName: TextCheck = (value) => {
  const name = value.toLowerCase();
  return NOT_TO_EDIT.has(name) || name.startsWith('x-envoy-')
    ? `the header ${value} is made on each hop anew, and is not the policy's to edit`
    : undefined;
};

const header: TextCheck = (value) => headerName(value.slice(0, value.indexOf(':')));

const LISTED = '*';

const TREATMENT: [Step[], TextCheck][] = [
  [['upstream', 'url'], url],
  [['upstream', 'split', LISTED, 'url'], url],
  [['upstream', 'mirror', 'url'], url],
  [['upstream', 'connectTimeout'], unit(parseDuration)],
  [['headers', 'request', 'set', LISTED], header],
  [['headers', 'request', 'remove', LISTED], headerName],
  [['headers', 'response', 'set', LISTED], header],
  [['headers', 'response', 'remove', LISTED], headerName],
  [['answerTimeout'], atLeast(SHORTEST_ANSWER_MS)],
  [['rateLimit', 'per'], atLeast(SHORTEST_FILL_MS)],
  [['store', 'ttl'], unit(parseDuration)],
  [['store', 'patience'], unit(parseDuration)],
];

/** HOST:PORT, of which the schema has seen the form. */
const address: TextCheck = (value) => {
  const colon = value.lastIndexOf(':');
  const port = Number(value.slice(colon + 1));
  if (port < 1 || port > 65535)
    return `expected HOST:PORT with a port from 1 to 65535, but found ${shown(value)}`;
  return host(value.slice(0, colon));
};

const TEXTS: [Step[], TextCheck][] = [
  [['spec', 'hosts', LISTED], host],
  [['spec', 'address'], address],
  [['spec', 'app'], address],
  ...TREATMENT.map(([path, check]): [Step[], TextCheck] => [['spec', ...path], check]),
  ...TREATMENT.map(([path, check]): [Step[], TextCheck] => [['spec', 'rules', LISTED, ...path], check]),
  [['spec', 'rules', LISTED, 'match', 'path', 'regex'], regex],
  [['spec', 'store', 'methods', LISTED], storable],
  [['spec', 'store', 'quota'], unit(parseSize)],
  [['spec', 'store', 'stream', 'segment', 'bytes'], unit(parseSize)],
  [['spec', 'store', 'stream', 'segment', 'time'], unit(parseDuration)],
  [['spec', 'replay', 'rate'], unit(parseRate)],
  [['spec', 'replay', 'retry', 'max'], unit(parseDuration)],
  [['spec', 'replay', 'retry', 'giveUpAfter'], atLeast(SHORTEST_GIVE_UP_MS)],
  [['spec', 'replay', 'delivered', 'headers', LISTED, 'regex'], regex],
  ...LINK_KINDS.map((kind): [Step[], TextCheck] => [['spec', 'replay', 'linkRates', kind], unit(parseRate)]),
  ...LINK_KINDS.flatMap((kind) =>
    ['daily', 'monthly'].map((span): [Step[], TextCheck] => [
      ['spec', 'replay', 'budget', kind, span],
      unit(parseSize),
    ]),
  ),
];

/** A check of a mapping: where in it, and what is wrong there. */
type GroupCheck = (value: Record<string, unknown>) => [Path, string][];

const pathOf = (text: unknown): string | undefined =>
  typeof text === 'string' && URL.canParse(text) ? new URL(text).pathname.replace(/\/+$/, '') : undefined;

const unsignableHost = (text: unknown): string | undefined => {
  if (typeof text !== 'string' || !URL.canParse(text)) return undefined;
  const { host } = new URL(text);
  return isSignable(host)
    ? undefined
    : `does not go together with sign: Envoy takes a part of ${host} for the port of another scheme, and signs for another host. Name the server by a name, or by another port`;
};

const upstream: GroupCheck = (value) => {
  const wrong: [Path, string][] = [];
  const split = Array.isArray(value.split) ? value.split : [];
  const sum = split.reduce((total, one) => total + (Number(isMapping(one) ? one.percent : 0) || 0), 0);
  if (sum >= 100) wrong.push([['split'], `expected less than 100 percent together, but found ${sum}`]);
  const others: [Path, unknown][] = [
    ...split.map((one, i): [Path, unknown] => [['split', i, 'url'], isMapping(one) ? one.url : undefined]),
    [['mirror', 'url'], isMapping(value.mirror) ? value.mirror.url : undefined],
  ];
  const own = pathOf(value.url);
  for (const [path, other] of others) {
    const theirs = pathOf(other);
    if (own === undefined || theirs === undefined) continue;
    if (theirs !== own)
      wrong.push([path, `expected the path of upstream.url, ${own || '/'}, but found ${theirs || '/'}`]);
  }
  for (const field of ['split', 'mirror'])
    if (value.sign !== undefined && value[field] !== undefined)
      wrong.push([[field], 'does not go together with sign: a signature is made for one host']);
  const unsignable = value.sign === undefined ? undefined : unsignableHost(value.url);
  if (unsignable) wrong.push([['url'], unsignable]);
  return wrong;
};

/** A segment is an entry, and a request of its own. */
const segments: GroupCheck = ({ upstream, store }) => {
  const service = at(upstream, 'sign', 'aws', 'service');
  const bytes = at(store, 'stream', 'segment', 'bytes');
  if (typeof service !== 'string' || typeof bytes !== 'string' || unit(parseSize)(bytes) !== undefined)
    return [];
  return signsBodyOf(service) && parseSize(bytes) > SIGNED_BODY_BYTES
    ? [
        [
          ['store', 'stream', 'segment', 'bytes'],
          `expected 16MiB at most, since the body is signed for ${service}, but found ${bytes}`,
        ],
      ]
    : [];
};

const at = (value: unknown, ...path: string[]): unknown =>
  path.reduce((found, key) => (isMapping(found) ? found[key] : undefined), value);

const statusCodes: GroupCheck = ({ on }) =>
  (Array.isArray(on) ? [...on.entries()] : [])
    .filter(([, code]) => typeof code === 'number' && code < 500 && ![408, 425, 429].includes(code))
    .map(([i, code]) => [['on', i], `expected 408, 425, 429 or 500 to 599, but found ${code}`]);

/** These mean that the request is to be sent again, or with other credentials. */
const NEVER_DELIVERED = [401, 403, 407, 408, 425, 429];

const deliveredCodes: GroupCheck = ({ status }) =>
  (Array.isArray(status) ? [...status.entries()] : [])
    .filter(([, code]) => NEVER_DELIVERED.includes(code))
    .map(([i, code]) => [['status', i], `${code} cannot count as delivered: remove it`]);

const oneValue: GroupCheck = ({ value, regex }) =>
  value !== undefined && regex !== undefined
    ? [[['regex'], 'does not go together with value: name one of them']]
    : [];

const onePath: GroupCheck = (value) =>
  Object.keys(value).length === 1
    ? []
    : [[[], `expected one of prefix, exact and regex, but found ${Object.keys(value).length}`]];

const someRule: GroupCheck = (value) =>
  Object.keys(value).some((key) => key !== 'match')
    ? []
    : [[[], 'expected something that is other for these requests, like store or headers']];

const someApps: GroupCheck = (value) =>
  Object.keys(value).length > 0 ? [] : [[[], 'expected nodes, labels or both, but found an empty mapping']];

/** What Layby names and joins; a patch to it would cut the parts loose from one another. */
const unpatched =
  (...fields: string[]): GroupCheck =>
  (value) =>
    ['@type', 'name', ...fields]
      .filter((field) => field in value)
      .map((field) => [[field], `${field} is not to be patched: Layby finds the resource by it`]);

const GROUPS: [Step[], GroupCheck][] = [
  [['spec'], segments],
  [['spec', 'upstream'], upstream],
  [['spec', 'rules', LISTED, 'upstream'], upstream],
  [['spec', 'retries'], statusCodes],
  [['spec', 'rules', LISTED, 'retries'], statusCodes],
  [['spec', 'replay', 'delivered'], deliveredCodes],
  [['spec', 'replay', 'delivered', 'headers', LISTED], oneValue],
  [['spec', 'rules', LISTED], someRule],
  [['spec', 'rules', LISTED, 'match', 'path'], onePath],
  [['spec', 'rules', LISTED, 'match', 'apps'], someApps],
  [['spec', 'envoy', 'cluster'], unpatched()],
  [['spec', 'envoy', 'route'], unpatched('match')],
  [['spec', 'envoy', 'virtualHost'], unpatched('domains', 'routes')],
];

/** Each place that a pattern of steps leads to. */
function* placesOf(value: unknown, pattern: readonly Step[], path: Path = []): Generator<[Path, unknown]> {
  const [step, ...rest] = pattern;
  if (step === undefined) yield [path, value];
  else if (step === LISTED) {
    for (const [i, item] of Array.isArray(value) ? value.entries() : [])
      yield* placesOf(item, rest, [...path, i]);
  } else if (isMapping(value) && Object.hasOwn(value, step))
    yield* placesOf(value[step], rest, [...path, step]);
}

/** What is wrong with the values of a document. */
export const valueFindings = (document: unknown): Finding[] => {
  const findings: Finding[] = [];
  for (const [pattern, check] of TEXTS) {
    for (const [path, found] of placesOf(document, pattern)) {
      const message = typeof found === 'string' ? check(found) : undefined;
      if (message) findings.push({ path, message, at: 'value' });
    }
  }
  for (const [pattern, check] of GROUPS) {
    for (const [path, found] of placesOf(document, pattern)) {
      for (const [below, message] of isMapping(found) ? check(found) : [])
        findings.push({ path: [...path, ...below], message, at: below.length > 0 ? 'key' : 'value' });
    }
  }
  return findings;
};
