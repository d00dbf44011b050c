// What a policy may say, what it then means, and how it is told that it may not.

import t from 'tap';
import { PolicyError, parsePolicy } from '../../src/policy/parse.ts';
import { destination, service } from './documents.ts';

const parseOne = (text: string) => parsePolicy([{ path: 'p.yaml', text }]).destinations[0]!;

const problemsOf = (...texts: string[]): string[] => {
  try {
    parsePolicy(texts.map((text, i) => ({ path: `${'abc'[i]}.yaml`, text })));
  } catch (thrown) {
    if (!(thrown instanceof PolicyError)) throw thrown;
    return thrown.message.split('\n');
  }
  return [];
};

t.test('a document with only what is required has every default', async (t) => {
  t.strictSame(parseOne(destination()), {
    name: 'dashcam',
    hosts: ['dashcam.example'],
    upstream: { url: 'https://cloud.example' },
    store: {
      mode: 'failover',
      methods: ['DELETE', 'PATCH', 'POST', 'PUT'],
      receipt: 'redirect',
      order: 'key',
      class: 'normal',
      reads: 'stored',
      listings: 'unavailable',
      unknown: 'unavailable',
      whenFull: 'refuse',
    },
    replay: {
      metered: 'allow',
      roaming: 'allow',
      resume: 'none',
      retry: { max: 30_000, giveUpAfter: 3_600_000 },
    },
  });
});

t.test(
  'units are resolved, hosts and methods have one spelling, and the upstream no trailing slash',
  async (t) => {
    const found = parseOne(`apiVersion: layby.dev/v1alpha1
kind: Destination
metadata: {name: dashcam}
spec:
  hosts: [Dashcam.S3.Internal, '*.EXAMPLE', '[0:0::1]', 10.0.0.1]
  upstream: {url: 'https://S3.example:443/base//', sign: {aws: {service: s3, region: ap-northeast-1}}}
  store: {mode: always, methods: [put, Put, post], ttl: 7d, quota: 20GiB, class: evidence}
  replay: {concurrency: 64, rate: 8Mbit/s, retry: {max: 100ms}, links: [wifi, lte, wifi], metered: deny,
    linkRates: {lte: 8Mbit/s},
    budget: {lte: {daily: 500MB, monthly: 10GiB}}}
`);
    t.strictSame(found.hosts, ['*.example', '10.0.0.1', '[::1]', 'dashcam.s3.internal']);
    t.strictSame(found.upstream, {
      url: 'https://s3.example/base',
      sign: { aws: { service: 's3', region: 'ap-northeast-1' } },
    });
    t.match(found.store, { methods: ['POST', 'PUT'], ttl: 604_800_000, quota: 20 * 2 ** 30 });
    t.strictSame(found.replay, {
      concurrency: 64,
      metered: 'deny',
      roaming: 'allow',
      resume: 'none',
      rate: 1_000_000,
      links: ['lte', 'wifi'],
      linkRates: { lte: 1_000_000 },
      budget: { lte: { daily: 500_000_000, monthly: 10 * 2 ** 30 } },
      retry: { max: 100, giveUpAfter: 3_600_000 },
    });
  },
);

t.test('a file may hold several documents, comments, anchors, or JSON with tabs', async (t) => {
  const first = destination({ name: 'b', hosts: ['b.example'], more: 'store: &s {ttl: 1h}' });
  const second = JSON.stringify(
    JSON.parse(`{"apiVersion": "layby.dev/v1alpha1", "kind": "Destination",
    "metadata": {"name": "a"}, "spec": {"hosts": ["a.example"], "upstream": {"url": "http://10.0.0.1:9000"}}}`),
    null,
    '\t',
  );
  const policy = parsePolicy([
    { path: 'b.yaml', text: `# first\n---\n${first}---\n# nothing\n---\n` },
    { path: 'a.json', text: second },
  ]);
  t.strictSame(
    policy.destinations.map(({ name }) => name),
    ['a', 'b'],
    'sorted by name',
  );
});

t.test('equal policies have equal versions however they are written, others do not', async (t) => {
  const a = destination({
    name: 'a',
    hosts: ['a.example', 'z.example'],
    more: 'store: {ttl: 1h, quota: 1GiB}',
  });
  const same = destination({
    name: 'a',
    hosts: ['Z.example', 'a.example'],
    more: 'store: {quota: 1024MiB, ttl: 60m}',
  });
  const b = destination({ name: 'b', hosts: ['b.example'] });
  const version = (...texts: string[]) => parsePolicy(texts.map((text) => ({ path: 'p', text }))).version;
  t.equal(version(a, b), version(`${b}---\n${same}`));
  t.not(version(a, b), version(a));
  t.match(version(a), /^[0-9a-f]{64}$/);
});

t.test('every problem of every file is told at once, in the order of files and lines', async (t) => {
  t.strictSame(
    problemsOf(
      destination({
        more: 'store:\n  mode: sometimes\n  ttl: 90\n  quota: 20 GiB\nreplay: {concurrency: 65}',
      }),
      `kind: Destination\nmetadata: {name: Video_1}\nspec:\n  hosts: []\n`,
    ),
    [
      'a.yaml:8:11: spec.store.mode: expected one of never, failover, always, but found "sometimes"',
      'a.yaml:9:10: spec.store.ttl: expected a duration like 90s, 15m, 12h or 7d, but found 90',
      'a.yaml:10:12: spec.store.quota: expected a size like 500MB or 20GiB, but found "20 GiB"',
      'a.yaml:11:25: spec.replay.concurrency: expected a whole number from 1 to 64, but found 65',
      'b.yaml:1:1: apiVersion: required, but missing; expected layby.dev/v1alpha1',
      'b.yaml:2:18: metadata.name: expected a DNS label: lower-case letters, digits and hyphens, 63 at most, but found "Video_1"',
      'b.yaml:4:3: spec.upstream: required, but missing; expected a mapping with url, sign, protocol, connectTimeout, split, mirror',
      'b.yaml:4:10: spec.hosts: expected a list of 1 to 256, but found an empty list',
    ],
  );
});

t.test('problems are there for programs too, with a code and a remedy', async (t) => {
  try {
    parsePolicy([{ path: 'x.yaml', text: destination({ more: 'store: {mode: alway}' }) }]);
    t.fail('it was taken');
  } catch (thrown) {
    t.match(thrown, {
      code: 'LAYBY_POLICY_INVALID',
      remedy: /correct/,
      problems: [
        { file: 'x.yaml', line: 7, column: 17, path: 'spec.store.mode', message: /did you mean `always`\?$/ },
      ],
    });
  }
});

t.test('more than eight problems in one document are all told', async (t) => {
  const hosts = Array.from({ length: 20 }, (_, i) => `h${i}.example:80`);
  t.equal(problemsOf(destination({ hosts })).length, 20);
});

t.test(
  'an unknown field is an error at any depth, at its own place, with what may have been meant',
  async (t) => {
    const text = destination({
      more: 'whenfull: evict\nstore: {whenFul: evict, links: [a]}\nreplay: {retry: {maxx: 1s}}\ntll: 3d',
    }).replace('{name: dashcam}', '{name: dashcam, labels: {}}');
    t.strictSame(problemsOf(`${text}__proto__: {}\n`), [
      'a.yaml:3:27: metadata.labels: unknown field; expected a mapping with name',
      'a.yaml:7:3: spec.whenfull: unknown field; did you mean `spec.store.whenFull`?',
      'a.yaml:8:11: spec.store.whenFul: unknown field; did you mean `whenFull`?',
      'a.yaml:8:27: spec.store.links: unknown field; did you mean `spec.replay.links`?',
      'a.yaml:9:20: spec.replay.retry.maxx: unknown field; did you mean `max`?',
      'a.yaml:10:3: spec.tll: unknown field; did you mean `spec.store.ttl`?',
      'a.yaml:11:1: __proto__: unknown field; expected a mapping with apiVersion, kind, metadata, spec',
    ]);
  },
);

t.test('a link or a budget that nobody knows is refused at its place', async (t) => {
  const refused = (replay: string, problem: RegExp) =>
    t.match(problemsOf(destination({ more: `replay: {${replay}}` })), [problem]);
  refused(
    'links: [wifi, 5g]',
    /spec\.replay\.links\[1\]: expected one of wired, wifi, lte, other, but found "5g"/,
  );
  refused('links: []', /spec\.replay\.links: /);
  refused('metered: ask', /spec\.replay\.metered: expected one of allow, deny/);
  refused('budget: {lte: {dayly: 1GB}}', /spec\.replay\.budget\.lte\.dayly: .*did you mean `daily`/);
  refused('linkRates: {lte: 1MB}', /spec\.replay\.linkRates\.lte: expected a rate/);
  refused('linkRates: {umts: 1Mbit/s}', /spec\.replay\.linkRates\.umts: unknown field/);
  refused('budget: {lte: {daily: 1}}', /spec\.replay\.budget\.lte\.daily: expected a size/);
  refused('budget: {wifi: {monthly: 99999999999TiB}}', /budget\.wifi\.monthly: .*too large/);
});

t.test('which answers count as delivered is parsed, and told at its place where it is wrong', async (t) => {
  const of = (delivered: string) => destination({ more: `replay: {delivered: ${delivered}}` });
  const headers = '[{name: X-Id}, {name: Server, value: ingest}, {name: x-n, regex: "[0-9]+"}]';
  t.strictSame(parseOne(of(`{status: [204, 201, 201], html: deny, headers: ${headers}}`)).replay.delivered, {
    status: [201, 204],
    headers: [{ name: 'x-id' }, { name: 'server', value: 'ingest' }, { name: 'x-n', regex: '[0-9]+' }],
    html: 'deny',
  });
  const refused = (delivered: string, problem: RegExp) => t.match(problemsOf(of(delivered)), [problem]);
  const at = /^a\.yaml:\d+:\d+: spec\.replay\.delivered\./.source;
  refused('{status: [500]}', new RegExp(`${at}status\\[0\\]: expected a whole number from 200 to 499`));
  refused('{status: [201, 429]}', new RegExp(`${at}status\\[1\\]: 429 cannot count as delivered`));
  refused('{status: []}', /delivered\.status: expected a list/);
  refused('{headers: [{name: "x y"}]}', /headers\[0\]\.name: expected the name of a header/);
  refused('{headers: [{value: x}]}', /headers\[0\]\.name: required, but missing/);
  refused('{headers: [{name: x, regex: "("}]}', /headers\[0\]\.regex: expected a regular expression as RE2/);
  refused(
    '{headers: [{name: x, regex: a, value: b}]}',
    /headers\[0\]\.regex: does not go together with value/,
  );
  refused('{html: maybe}', /delivered\.html: expected one of allow, deny/);
  refused('{codes: [200]}', /delivered\.codes: unknown field/);
});

t.test('what a schema cannot say is checked too', async (t) => {
  const problem = (more: string) => problemsOf(destination({ more }))[0] ?? '';
  t.match(problem('store: {methods: [PUT, get]}'), 'spec.store.methods[1]: get cannot be stored');
  t.match(problem('replay: {rate: 1bit/s}'), 'but found "1bit/s", which is too small');
  t.match(problem('store: {quota: 999999999999TiB}'), 'which is too large');
  t.match(problem('store: {ttl: 0s}'), 'spec.store.ttl: expected a duration');
  t.match(problem('store:'), 'spec.store: expected a mapping with mode');
  t.match(problemsOf(destination({ hosts: ['[::g]', '[1:2]'] })), [
    /spec\.hosts\[0\]/,
    /an IPv6 address in the brackets/,
  ]);
  for (const url of [
    'ftp://a',
    'https://a/?q',
    'https://a/#f',
    'https://u:p@a',
    'https://',
    'http://a:99999',
    'a.example',
  ]) {
    t.match(
      problemsOf(destination().replace('https://cloud.example', `"${url}"`)),
      [/spec\.upstream\.url: expected/],
      url,
    );
  }
  for (const host of [
    'a.example:80',
    'https://a',
    '*',
    'a.*',
    '*a.example',
    'a..b',
    'a.',
    '-a',
    'a/b',
    'a@b',
    '',
    'bücher.example',
  ]) {
    t.match(problemsOf(destination({ hosts: [host] })), [/spec\.hosts\[0\]: expected a host name/], host);
  }
});

t.test('a host belongs to one destination, and the error names both places', async (t) => {
  const a = destination({ name: 'a', hosts: ['x.example', '*.example'] });
  t.strictSame(
    problemsOf(a, destination({ name: 'b', hosts: ['y.example', '*.Example', 'X.example'] })),
    [
      'b.yaml:5:23: spec.hosts[1]: the host *.example is already claimed by destination a at a.yaml:5:23',
      'b.yaml:5:35: spec.hosts[2]: the host x.example is already claimed by destination a at a.yaml:5:11',
    ],
    'a wildcard and a name under it are no conflict',
  );
  t.match(problemsOf(destination({ hosts: ['a.b', 'A.b'] })), [
    /spec\.hosts\[1\]: the host a\.b is already claimed/,
  ]);
});

t.test(
  'a sidecar takes calls for one service at an address; where that is a name, at all it has',
  async (t) => {
    t.same(problemsOf(service('a'), service('b')), [
      'b.yaml:1:130: spec.address: the address 10.0.0.2:15008 of the sidecar ecu is already claimed by service a at a.yaml:1:130',
    ]);
    t.match(
      problemsOf(service('a', { address: 'ecu.local:1' }), service('b', { address: 'map.fleet.svc:1' })),
      [/the address 0\.0\.0\.0:1 of the sidecar ecu is already claimed by service a/],
    );
    t.same(problemsOf(service('a'), service('b', { address: '10.0.0.3:15008' })), []);
    t.same(problemsOf(service('a'), service('b', { node: 'other' })), []);
  },
);

t.test('what no sidecar could be called, or listen at, is a problem of the policy', async (t) => {
  for (const address of ['ecu:0', 'ecu:65536', '.:1', 'a..b:1', '[1:2]:1'])
    t.match(problemsOf(service('a', { address })), [/ spec\.address: expected /], address);
  for (const node of ['.', '..', 'a/b', ''])
    t.match(problemsOf(service('a', { node })), [/ spec\.node: expected /], node);
  for (const who of ['.', 'spiffe://fleet.example/..', 'spiffe://fleet.example/a/./b'])
    t.match(problemsOf(service('a', { allow: [who] })), [/ spec\.allow\[0\]: expected /], who);
  t.same(problemsOf(service('a', { node: '.a', allow: ['spiffe://fleet.example/..a/b'] })), []);
});

t.test('a name belongs to one document, also where other things are wrong', async (t) => {
  t.match(problemsOf(destination({ more: 'stor: {}' }), destination({ hosts: ['b.example'] })), [
    /did you mean `store`/,
    'b.yaml:3:18: metadata.name: the name dashcam is already claimed at a.yaml:3:18',
  ]);
});

t.test('wrong YAML is told with its place, beside the problems of the other documents', async (t) => {
  t.strictSame(
    problemsOf('a: [1\n', 'x: *gone\n', `${destination({ more: 'store: {mode: x}\nstore: !tag {}' })}`),
    [
      'a.yaml:2:1: Flow sequence in block collection must be sufficiently indented and end with a ]',
      'b.yaml:1:1: Unresolved alias (the anchor must be set before the alias): gone',
      'c.yaml:8:3: Map keys must be unique',
      'c.yaml:8:10: Unresolved tag: !tag',
    ],
  );
});

t.test('hostile YAML is a problem too: too deep, or an alias bomb', async (t) => {
  const deep = problemsOf('['.repeat(100_000));
  t.ok(deep.length > 0 && deep.length < 5, deep.join());
  const bomb = Array.from(
    { length: 12 },
    (_, i) => `k${i}: &k${i} [${i ? `*k${i - 1},`.repeat(9) : 'x'}]`,
  ).join('\n');
  t.match(problemsOf(bomb), [/alias/i]);
});

t.test(
  'what no reader of YAML has the stack for, and keys that are collections, are problems too',
  async (t) => {
    const deep = problemsOf('? '.repeat(10_000));
    t.ok(deep.length > 0 && deep.every((problem) => /^a\.yaml:1:\d+: /.test(problem)), String(deep[0]));
    const began = performance.now();
    t.same(problemsOf(`${'? '.repeat(400)}a: b`), [
      'a.yaml:1:3: expected a name before the colon, but found a list or a mapping',
    ]);
    t.ok(performance.now() - began < 5_000, 'and in no time to speak of');
  },
);

t.test('an IPv6 address with a zone is no host, and a problem with a place', async (t) => {
  t.match(problemsOf(destination({ hosts: ['[fe80::1%eth0]'] })), [
    /^a\.yaml:5:11: spec\.hosts\[0\]: expected a host/,
  ]);
});

t.test('a document of another kind is one problem, not a dozen', async (t) => {
  t.strictSame(problemsOf('apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n'), [
    'a.yaml:2:7: kind: expected one of Destination, Service, Mesh, but found "ConfigMap"',
  ]);
  t.match(problemsOf('7'), [
    'a.yaml:1:1: expected a mapping with apiVersion, kind, metadata, spec, but found 7',
  ]);
});

t.test('a policy without a document is an error', async (t) => {
  t.match(problemsOf('# soon\n---\n'), [/^a\.yaml:1:1: expected at least one document of kind Destination/]);
  t.match(problemsOf('', ''), [/a\.yaml, b\.yaml hold none/]);
  t.throws(() => parsePolicy([]), { code: 'LAYBY_POLICY_INVALID', message: /there are no files/ });
});

t.test('a document of kind Mesh says what becomes of hosts that nothing names; there is one at most', (t) => {
  const mesh = (name: string, passthrough: string) =>
    `{apiVersion: layby.dev/v1alpha1, kind: Mesh, metadata: {name: ${name}}, spec: {passthrough: ${passthrough}}}`;
  const policy = (...texts: string[]) => parsePolicy(texts.map((text, i) => ({ path: `${i}.yaml`, text })));
  t.match(policy(mesh('m', 'allow')), { destinations: [], passthrough: 'allow' });
  t.notHas(policy(mesh('m', 'deny')), { passthrough: String });
  t.not(policy(mesh('m', 'allow')).version, policy(mesh('m', 'deny')).version);
  t.throws(() => policy(mesh('m', 'alow')), /spec\.passthrough: .*did you mean `allow`/);
  t.throws(
    () => policy(mesh('one', 'allow'), mesh('two', 'deny')),
    /1\.yaml:1:\d+: kind: the one document of kind Mesh is already claimed at 0\.yaml:1:/,
  );
  t.end();
});

t.test('a host that Envoy would sign for as another one does not go together with sign', async (t) => {
  const sign = ', sign: {aws: {service: s3, region: x}}';
  const problems = (url: string, more = sign) =>
    problemsOf(destination().replace('{url: https://cloud.example}', `{url: "${url}"${more}}`));
  for (const url of [
    'http://s3.example:443',
    'https://s3.example:80',
    'https://[2001:443::1]:9000',
    'http://[fd00:80::1]',
  ]) {
    t.match(problems(url), [/spec\.upstream\.url: does not go together with sign: .*by another port/], url);
    t.same(problems(url, ''), [], `${url} without sign`);
  }
  for (const url of [
    'http://s3.example:80',
    'https://s3.example:443',
    'https://s3.example:8443',
    'https://[2001:db8::443]:9000',
  ])
    t.same(problems(url), [], url);
});

t.test('a segment is no longer than a body that can be signed', async (t) => {
  const problems = (service: string, bytes: string) =>
    problemsOf(
      destination({ more: `store: {stream: {segment: {bytes: ${bytes}}}}` }).replace(
        '{url: https://cloud.example}',
        `{url: "https://cloud.example", sign: {aws: {service: ${service}, region: x}}}`,
      ),
    );
  t.match(problems('kinesis', '17MiB'), [/segment\.bytes: expected 16MiB at most.*kinesis/]);
  t.same(problems('kinesis', '16MiB'), []);
  t.same(problems('s3', '1GiB'), []);
});
