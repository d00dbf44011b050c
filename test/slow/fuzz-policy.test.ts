// The policy parser against documents that nobody meant: it takes them, and then Envoy's messages can be made of them, or it
// refuses them with LAYBY_POLICY_INVALID, each problem with a place that exists. Nothing else, and in no time to speak of.
//
// LAYBY_SEED repeats one seed, LAYBY_ROUNDS says how many documents each seed tries.

import t from 'tap';
import { stringify } from 'yaml';
import { resourcesFor } from '../../src/control-plane/resources/resources.ts';
import type { Sidecar } from '../../src/control-plane/resources/sidecar.ts';
import { loadXds } from '../../src/control-plane/xds/registry.ts';
import { PolicyError, parsePolicy } from '../../src/policy/parse.ts';
import type { Policy } from '../../src/policy/policy.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';

/** Those that found something once, and some more. */
const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2, 3, 4];
const ROUNDS = Number(process.env.LAYBY_ROUNDS ?? 500);
/** One document of this size; a parser that takes longer has a shape that blows up. */
const LONGEST_MS = 5_000;

const xds = await loadXds();

const FULL = {
  apiVersion: 'layby.dev/v1alpha1',
  kind: 'Destination',
  metadata: { name: 'dashcam' },
  spec: {
    hosts: ['dashcam.example', '*.dashcam.example', '[2001:db8::1]', '10.0.0.1'],
    upstream: { url: 'https://cloud.example/base', sign: { aws: { service: 's3', region: 'eu-west-1' } } },
    store: {
      ...{ mode: 'failover', methods: ['PUT', 'POST'], receipt: 'auto', order: 'key', class: 'evidence' },
      ...{ ttl: '7d', quota: '20GiB', whenFull: 'refuse' },
    },
    replay: { concurrency: 4, rate: '8Mbit/s', retry: { max: '30s' } },
  },
};

const VALUES: unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e308,
    Number.POSITIVE_INFINITY,
    Number.NaN,
    '',
    ' ',
    '*',
    '*.',
    '.',
    '*.*',
  ],
  ...[
    'a'.repeat(300),
    'a.'.repeat(200),
    '\0',
    '\u202e',
    'é.example',
    'xn--',
    '[::1]',
    '[::1',
    '[v1.x]',
    '::1',
  ],
  ...[
    '0.0.0.0',
    '1.2.3.4.5',
    '0x7f.1',
    '127.1',
    'a_b.example',
    'api.example:80',
    'u@api.example',
    'a..b',
    '-a-',
  ],
  ...[
    'http://',
    'http://a b',
    'https://u:p@x.example/',
    'file:///etc/passwd',
    'https://x.example/?q#f',
    'HTTPS://X',
  ],
  ...[
    'https://[::1]:443/"\\/%00/..',
    'http://x:0',
    'http://x:99999',
    'http://*.x',
    'javascript:1',
    'https://x/\\1$1',
  ],
  ...[
    '1e9s',
    '-1s',
    '99999999999999999999d',
    '1.5s',
    '0s',
    '1 s',
    '0B',
    '1YiB',
    '8Mbit',
    'Infinity',
    'NaN',
    '1_0s',
  ],
  ...['__proto__', 'constructor', 'toString', 'GET', 'CONNECT', 'put', 'M-SEARCH', '-', [], {}, [[]], [null]],
  ...[
    { __proto__: null },
    ['PUT', 'PUT'],
    { toString: 1 },
    new Array(500).fill('x.example'),
    { a: { b: { c: [] } } },
  ],
];
const KEYS = ['__proto__', 'constructor', 'hosts', 'spec', 'store', 'x', '', ' ', '0', 'metadata', 'quotas'];
const SNIPPETS = [
  ...[
    '\n',
    '---\n',
    '...\n',
    '%YAML 9\n',
    '&a ',
    '*a',
    '<<: *a',
    '!!binary ',
    '!x ',
    '? ',
    ': ',
    '- ',
    '|\n',
    '>\n',
  ],
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '#',
    '\t',
    '\0',
    '\ufeff',
    '\u2028',
    '@',
    '`',
    '\\',
    '{{}}: ',
    '[[[[',
    '? [a]\n: b\n',
  ],
  ...[
    'a: &a [*a]\n',
    'a: &a {b: *a}\n',
    '\ud800',
    '!!float x',
    '!!set {a}',
    '0o17',
    '~',
    '.inf',
    '2001-01-01',
    '12e03',
  ],
];

type Parent = Record<string, unknown> | unknown[];
const parents = (value: unknown): Parent[] =>
  typeof value === 'object' && value !== null
    ? [value as Parent, ...Object.values(value).flatMap(parents)]
    : [];

/** One place of the document says something else, is gone, or is there twice. */
const twistValue = (random: Random, document: unknown): void => {
  const parent = oneOf(random, parents(document)) as Record<string, unknown>;
  const key = oneOf(random, [...Object.keys(parent), oneOf(random, KEYS)]);
  const kind = random();
  if (kind < 0.15) delete parent[key];
  else if (kind < 0.25)
    Object.defineProperty(parent, oneOf(random, KEYS), {
      value: Object.hasOwn(parent, key) ? parent[key] : null,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  else
    Object.defineProperty(parent, key, {
      value: structuredClone(oneOf(random, VALUES)),
      enumerable: true,
      configurable: true,
      writable: true,
    });
};

const twistText = (random: Random, text: string): string => {
  const at = between(random, [0, text.length]);
  const to = Math.min(text.length, at + between(random, [0, 12]));
  const lines = text.split('\n');
  const line = between(random, [0, lines.length - 1]);
  return oneOf(random, [
    () => text.slice(0, at) + oneOf(random, SNIPPETS) + text.slice(at),
    () => text.slice(0, at) + text.slice(to),
    () => text.slice(0, at) + text.slice(at, to).repeat(3) + text.slice(to),
    () => text.slice(0, at) + String.fromCharCode(between(random, [0, 300])) + text.slice(at + 1),
    () => lines.toSpliced(line, 0, oneOf(random, lines)).join('\n'),
    () => lines.toSpliced(line, 1).join('\n'),
    () => lines.with(line, `${' '.repeat(between(random, [0, 8]))}${lines[line]!.trimStart()}`).join('\n'),
    () => oneOf(random, SNIPPETS).repeat(between(random, [1, random() < 0.02 ? 3000 : 8])) + text,
    () => `${text}---\n${text}`,
  ])();
};

const policyText = (random: Random): string => {
  const document: unknown = structuredClone(FULL);
  for (let n = between(random, [0, 2]); n > 0; n -= 1) twistValue(random, document);
  let text = random() < 0.3 ? JSON.stringify(document, null, 2) : stringify(document);
  for (let n = between(random, [0, 3]); n > 0; n -= 1) text = twistText(random, text);
  return text;
};

const encodable = (policy: Policy): void => {
  const listeners = { outbound: { unix: '/o' }, egress: { unix: '/e' } };
  const sidecar: Sidecar = { ...listeners, trustedCa: '/ca.pem', discovery: 'aggregated' };
  const resources = resourcesFor(policy, sidecar, { unix: '/q' });
  for (const resource of Object.values(resources).flat()) xds.any(resource);
};

/** What is wrong with how the parser took this text; undefined where nothing is. */
const fault = (text: string): { taken: boolean; wrong?: string } => {
  const began = performance.now();
  try {
    const policy = parsePolicy([{ path: 'p.yaml', text }]);
    encodable(policy);
    return { taken: true, ...late(began) };
  } catch (error) {
    if (!(error instanceof PolicyError)) return { taken: false, wrong: String((error as Error).stack) };
    const lines = text.split(/\r\n|\r|\n/);
    const lost = error.problems.find(
      ({ file, line, column, message }) =>
        file !== 'p.yaml' || !(line >= 1 && line <= lines.length) || !(column >= 1) || message === '',
    );
    if (error.problems.length === 0) return { taken: false, wrong: 'no problem is named' };
    return { taken: false, ...(lost ? { wrong: `no place: ${JSON.stringify(lost)}` } : late(began)) };
  }
};
const late = (began: number) => {
  const ms = performance.now() - began;
  return ms > LONGEST_MS ? { wrong: `took ${Math.round(ms)} ms` } : {};
};

for (const seed of SEEDS)
  t.test(`seed ${seed}: taken, or refused with a place`, async (t) => {
    const random = randomFrom(seed);
    let taken = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const text = policyText(random);
      const found = fault(text);
      if (found.taken) taken += 1;
      if (found.wrong) {
        t.fail(`LAYBY_SEED=${seed}, round ${round}: ${found.wrong}`, { text: text.slice(0, 3000) });
        return;
      }
    }
    t.ok(taken > 0 && taken < ROUNDS, `${taken} of ${ROUNDS} were taken`);
  });
