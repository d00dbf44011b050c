// What the chart takes as a value is what the programs take that it starts: values are made from the grammar of their own parsers, and what
// these say is the truth.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { probeUrl } from '../../src/cli/link-probe.ts';
import { parseRate, parseSize, RATE_PATTERN, SIZE_PATTERN } from '../../src/policy/units.ts';
import { noHelm } from '../rig/helm.ts';
import { CHART, edgePod, template } from '../rig/kubernetes/chart.ts';

t.setTimeout(300_000);

interface Schema {
  pattern: string;
  properties: Record<string, Schema>;
}

const { edge } = (JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema).properties;

const takes = (parse: (text: string) => unknown, text: string): boolean => {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
};

/** What of an alternative there is in a pattern of units.ts: `(B|kB|…)$`. */
const unitsOf = (pattern: string): string[] => /\(([^()]*)\)\$$/.exec(pattern)![1]!.split('|');

const NUMBERS = [
  ...['1', '9', '10', '1.5', '3.999', '4', '7.125', '999999999999999', '9007199254740', '8191', '8192.001'],
  ...['0', '01', '0.5', '.5', '1.', '1.2345', '-1', '+1', '1e3', '1,5', '1000000000000000', '', ' 1', '1 '],
];

const amounts = (pattern: string): string[] => {
  const units = [...unitsOf(pattern), '', 'b', 'PB', 'mb', 'Bit/s', 'B/m', ' MB'];
  return NUMBERS.flatMap((number) => units.map((unit) => `${number}${unit}`));
};

const PORTS = ['', ':', ':80', ':00080', ':65535', ':65536', ':99999', ':100000', ':x'];
const HOSTS = [
  ...['fleet.example', 'a', '10.0.0.1', '[::1]', '[2001:db8::1]', 'bücher.example', 'a_b', '%41.example'],
  ...['', 'a b', 'a<b', 'a|b', 'a[b', '[]'],
];
const URLS = [
  'http://',
  'https://',
  'http:',
  'https:/',
  'https:///',
  'ftp://',
  'HTTP://',
  '//',
  ' http://',
].flatMap((scheme) =>
  ['', 'u@', 'u:p@', '@'].flatMap((user) =>
    HOSTS.flatMap((host) =>
      PORTS.flatMap((port) =>
        ['', '/', '/a?b=c&d="e f"#g: h', '?x', '#y'].map((path) => `${scheme}${user}${host}${port}${path}`),
      ),
    ),
  ),
);

t.test('the schema knows the units of policies, all of them', async (t) => {
  const { store, replayRate } = edge!.properties as Record<string, Schema> & { store: Schema };
  const form = (pattern: string) => `^(${pattern.slice(1, -1)})?$`;
  for (const name of ['quota', 'reserve']) t.equal(store.properties[name]!.pattern, form(SIZE_PATTERN), name);
  t.equal(replayRate!.pattern, form(RATE_PATTERN));
});

t.test('a probe is taken as the control plane takes it', async (t) => {
  const pattern = new RegExp(edge!.properties.linkProbe!.pattern);
  const wrong = URLS.filter((url) => pattern.test(url) !== takes(probeUrl, url));
  t.same(wrong, []);
  t.ok(URLS.filter((url) => pattern.test(url)).length > 1_000);
  t.ok(pattern.test(''), 'none');
});

/** `null`: refused, else the arguments of the edge pod's containers. */
async function given(values: Record<string, string>): Promise<string[] | null> {
  const sets = Object.entries(values).flatMap(([key, value]) => [
    '--set-json',
    `${key}=${JSON.stringify(value)}`,
  ]);
  try {
    return edgePod(await template(...sets)).spec.template.spec.containers.flatMap(({ args = [] }) => args);
  } catch (error) {
    if (!/too small|too large|Does not match pattern/.test(String(error))) throw error;
    return null;
  }
}

t.test(
  'Helm takes the sizes and rates that the queue takes, and gives them to it',
  { skip: noHelm },
  async (t) => {
    const [sizes, rates] = [
      amounts(SIZE_PATTERN).filter((text) => takes(parseSize, text)),
      amounts(RATE_PATTERN).filter((text) => takes(parseRate, text)),
    ];
    t.ok(sizes.length > 60 && rates.length > 120, `${sizes.length} sizes, ${rates.length} rates`);
    // Each unit, and each number; all of them together would take minutes.
    for (let each = 0; each < rates.length; each += 5) {
      const [quota, reserve, rate] = [
        sizes[each % sizes.length]!,
        sizes[(each + 3) % sizes.length]!,
        rates[each]!,
      ];
      const args = await given({
        'edge.store.quota': quota,
        'edge.store.reserve': reserve,
        'edge.replayRate': rate,
      });
      for (const wanted of [`--store-quota=${quota}`, `--store-reserve=${reserve}`, `--replay-rate=${rate}`])
        t.ok(args?.includes(wanted), wanted);
    }
  },
);

t.test('Helm refuses what the queue refuses', { skip: noHelm }, async (t) => {
  const form = new RegExp(SIZE_PATTERN);
  const refused = amounts(SIZE_PATTERN).filter((text) => text && !takes(parseSize, text));
  const tooLarge = refused.filter((text) => form.test(text));
  t.ok(tooLarge.length > 5);
  for (const text of [
    ...tooLarge,
    ...refused.filter((text) => !form.test(text)).filter((_, each) => each % 12 === 0),
  ])
    t.equal(await given({ 'edge.store.quota': text }), null, JSON.stringify(text));
  for (const text of [
    '1bit/s',
    '3.999bit/s',
    '999999999999999TB/s',
    '9999999999999.5kB/s',
    '8Mbps',
    '0bit/s',
  ])
    t.equal(await given({ 'edge.replayRate': text }), null, text);
});

t.test('an address to probe reaches the control plane as it was written', { skip: noHelm }, async (t) => {
  for (const url of [
    'https://fleet.example/a?b=c&d="e f"#g: h',
    'http://u:p@[::1]:00080',
    'https:fleet.example',
    'http://a/$(x)',
  ])
    t.ok((await given({ 'edge.linkProbe': url }))?.includes(`--link-probe=${url}`), url);
  for (const url of ['ftp://a', 'http://', 'http://a:65536', 'a.example'])
    t.equal(await given({ 'edge.linkProbe': url }), null, url);
});
