// `layby policy`: what a person is told of policy files, and of a mesh that runs.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { destination } from '../policy/documents.ts';
import { startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { layby } from './layby-process.ts';

t.setTimeout(120_000);

const MESH = `apiVersion: layby.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { passthrough: allow }
`;

const file = (t: Test, text: string, name = 'policy.yaml'): string => {
  const path = join(existsSync(t.testdirName) ? t.testdirName : testdir(t), name);
  writeFileSync(path, text);
  return path;
};

const RULES = [
  'store: {class: bulk}',
  'rules:',
  '  - {match: {path: {prefix: /alarms/}, methods: [POST]}, store: {class: urgent, receipt: accepted}}',
  '  - {match: {apps: {labels: [team=video]}}, store: {mode: never}}',
].join('\n');
const FLEET = destination({ name: 'fleet', hosts: ['fleet.example'], more: RULES });

t.test('check says that a policy is right, and that Envoy takes it', async (t) => {
  const dir = testdir(t, { 'a.yaml': FLEET, 'b.yaml': destination() });
  const { code, stdout, said } = await layby(['policy', 'check', dir]);
  t.same([code, said], [0, []]);
  t.equal(stdout, '2 destinations in 2 files: right, and Envoy takes them\n');
  const alone = await layby(['policy', 'check', join(dir, 'a.yaml'), '--no-envoy']);
  t.equal(alone.stdout, '1 destination in 1 file: right, Envoy was not asked\n');
});

t.test('check names every problem by file, line and column, with what may have been meant', async (t) => {
  const path = file(
    t,
    destination({
      more: [
        'store: {mod: never}',
        'rateLimit: {requests: 5, per: 1ms}',
        'headers: {request: {set: ["Host: x", "no colon"], remove: [Layby-Host]}}',
        'retries: {on: [410, 503]}',
        'rules:',
        '  - {match: {path: {regex: "(a", prefix: /x}}}',
        '  - {match: {apps: {}}, answerTimeout: 5}',
        'envoy: {route: {match: {prefix: /}}, cluster: {name: x}}',
      ].join('\n'),
    }).replace(
      '{url: https://cloud.example}',
      '{url: https://cloud.example/a, split: [{url: "https://b.example", percent: 60}, {url: "https://c.example/a", percent: 40}], mirror: {url: "https://d.example/a"}, sign: {aws: {service: s3, region: x}}}',
    ),
  );
  const { code, said } = await layby(['policy', 'check', path]);
  t.equal(code, 1);
  t.same(
    said.slice(0, -1).map((line) => line.replace(/^layby: /, '').replaceAll(`${path}:`, '')),
    [
      '6:44: spec.upstream.split: expected less than 100 percent together, but found 100',
      '6:53: spec.upstream.split[0].url: expected the path of upstream.url, /a, but found /',
      '6:137: spec.upstream.mirror: does not go together with sign: a signature is made for one host',
      '7:11: spec.store.mod: unknown field; did you mean `mode`?',
      '8:33: spec.rateLimit.per: expected at least 50ms, but found 1ms',
      "9:29: spec.headers.request.set[0]: the header Host is made on each hop anew, and is not the policy's to edit",
      '9:40: spec.headers.request.set[1]: expected a header like "X-Fleet: north", but found "no colon"',
      "9:62: spec.headers.request.remove[0]: the header Layby-Host is made on each hop anew, and is not the policy's to edit",
      '10:18: spec.retries.on[0]: expected 408, 425, 429 or 500 to 599, but found 410',
      '12:7: spec.rules[0]: expected something that is other for these requests, like store or headers',
      '12:22: spec.rules[0].match.path: expected one of prefix, exact and regex, but found 2',
      '12:30: spec.rules[0].match.path.regex: expected a regular expression as RE2 knows it, but found "(a": error parsing regexp: missing closing ): `(a`',
      '13:22: spec.rules[1].match.apps: expected nodes, labels or both, but found an empty mapping',
      '13:42: spec.rules[1].answerTimeout: expected a duration like 90s, 15m, 12h or 7d, but found 5',
      '14:19: spec.envoy.route.match: match is not to be patched: Layby finds the resource by it',
      '14:50: spec.envoy.cluster.name: name is not to be patched: Layby finds the resource by it',
    ],
  );
  const json = await layby(['policy', 'check', path, '--json']);
  t.equal(json.code, 1);
  t.match(JSON.parse(json.stdout), { ok: false, problems: [{ file: path, line: 6, column: Number }] });
});

t.test("check tells what Envoy refuses in Envoy's words, at its place", async (t) => {
  const more = 'envoy:\n  route: {metadata: {}}\n  cluster: {lb_policy: ROUND_ROBBIN}';
  const { code, said } = await layby(['policy', 'check', file(t, destination({ more }))]);
  t.equal(code, 1);
  t.match(said.join('\n'), /policy\.yaml:9:14: spec\.envoy\.cluster: Envoy refuses it: .*ROUND_ROBBIN/);
  t.notMatch(said.join('\n'), /spec\.envoy\.route/);
  const route = 'envoy: {route: {route: {hash_policy: [{header: {}}]}}}';
  const refused = await layby(['policy', 'check', file(t, destination({ more: route }))]);
  t.match(
    refused.said.join('\n'),
    /spec\.envoy\.route: Envoy refuses it: Proto constraint validation failed .*HeaderName/,
  );
});

t.test('explain says what happens to a request, by which rule, and why', async (t) => {
  const policy = ['--policy', file(t, FLEET)];
  const explain = async (...args: string[]) =>
    JSON.parse((await layby(['policy', 'explain', ...args, ...policy, '--json'])).stdout);
  t.match(await explain('http://fleet.example/alarms/1?x', '--method', 'post'), {
    destination: 'fleet',
    rule: { number: 1, match: 'POST, path prefix /alarms/' },
    stored: true,
    receipt: 'accepted: 202',
    class: 'urgent',
    withSignal: /straight to https:\/\/cloud\.example/,
    withoutSignal: 'is stored; the app hears 202',
  });
  t.match(await explain('FLEET.example.:8080'), {
    rule: null,
    class: 'bulk',
    order: /^key/,
    why: [/failover/],
  });
  t.match(await explain('fleet.example/x', '--app', 'truck-7', '--label', 'team=video'), {
    rule: { number: 2, match: 'label team=video' },
    stored: false,
    withoutSignal: /fails with 503/,
    why: ['store.mode is never (rule 2)'],
  });
  t.match(await explain('http://other.example/'), { destination: null, withSignal: /421/ });
  const open = file(t, MESH, 'mesh.yaml');
  const passed = await layby(['policy', 'explain', 'http://other.example/', '--policy', open]);
  t.match(passed.stdout, /with signal +goes straight to other\.example.*503.*passthrough is allow/s);
  const { stdout } = await layby([
    'policy',
    'explain',
    'http://fleet.example/',
    '--method',
    'GET',
    ...policy,
  ]);
  t.match(stdout, /^GET http:\/\/fleet\.example\/\n {2}destination +fleet\n {2}rule +none matches\n/);
  const wrong = await layby(['policy', 'explain', 'https://fleet.example/', ...policy]);
  t.equal(wrong.code, 1);
  t.match(wrong.said[0], /no URL that an app can call: write http:\/\/HOST\/PATH/);
});

t.test('diff says what an edit changes, of the policy and on the sidecar', async (t) => {
  const old = file(t, `${FLEET}---\n${destination()}`, 'old.yaml');
  const edited = file(
    t,
    `${FLEET.replace('class: bulk', 'class: normal, ttl: 1h')}---\n${destination({ name: 'video', hosts: ['video.example'] })}`,
    'new.yaml',
  );
  const { code, stdout } = await layby(['policy', 'diff', old, edited]);
  t.equal(code, 0);
  t.equal(
    stdout,
    [
      '- dashcam: dashcam.example → https://cloud.example',
      '~ fleet: store.class: bulk → normal',
      '~ fleet: store.ttl: (none) → 3600000 ms',
      '+ video: video.example → https://cloud.example',
      '',
      'sidecar local:',
      '  + clusters: video/direct',
      '  + clusters: video',
      '  + clusters: video/egress',
      '  - clusters: dashcam/direct',
      '  - clusters: dashcam',
      '  - clusters: dashcam/egress',
      '  ~ routes: outbound: virtual_hosts[dashcam] (gone), virtual_hosts[video] (new)',
      '  ~ routes: egress: virtual_hosts[egress].routes',
      '',
    ].join('\n'),
  );
  const same = await layby(['policy', 'diff', old, old]);
  t.equal(same.stdout, 'the policy says the same\n\nsidecar local: nothing changes\n');
  const open = file(t, `${FLEET}---\n${destination()}---\n${MESH}`, 'open.yaml');
  const opened = await layby(['policy', 'diff', old, open]);
  t.match(opened.stdout, /^~ mesh: passthrough: deny → allow\n/);
  t.match(opened.stdout, /\+ clusters: layby\/passthrough\n/);
  const mode = file(t, `${FLEET.replace('mode: never', 'mode: always')}---\n${destination()}`, 'mode.yaml');
  const plain = await layby(['policy', 'diff', old, mode]);
  t.match(plain.stdout, /rules\[1\]\.changes\.store\.mode: never → always\n\nsidecar local: nothing changes/);
  const labelled = await layby(['policy', 'diff', old, mode, '--label', 'team=video']);
  t.match(labelled.stdout, /sidecar local:\n {2}~ routes: outbound: virtual_hosts\[fleet\]\.routes\n$/);
});

t.test(
  'of a mesh that runs: what is in force, what an edit would do to it, and what its sidecar has',
  async (t) => {
    const path = file(t, `${FLEET}---\n${destination()}`);
    const mesh = await startLayby({
      data: join(t.testdirName, 'data'),
      policyFiles: [path],
      extraArgs: ['--node', 'truck-7', '--label', 'team=video'],
    });
    t.teardown(() => mesh.kill9('all'));
    await mesh.link('down', 'fleet');
    const explained = await mesh.cli('policy', 'explain', 'http://fleet.example/x');
    t.match(explained, /rule +2: label team=video\n/);
    t.match(explained, /now +held: the link is down \(override\)/);
    const edited = file(t, FLEET.replace('class: urgent', 'class: evidence'), 'edited.yaml');
    const diff = await mesh.cli('policy', 'diff', edited);
    t.match(
      diff,
      /^- dashcam: .*\n~ fleet: rules\[0\]\.changes\.store\.class: urgent → evidence\n\nsidecar truck-7:\n/,
    );
    const dumped = JSON.parse(await mesh.cli('policy', 'dump', 'truck-7', '--json')) as {
      clusters: { name: string }[];
      routes: { name: string }[];
    };
    t.same(
      dumped.routes.map(({ name }) => name),
      ['outbound', 'egress'],
    );
    t.ok(dumped.clusters.some(({ name }) => name === 'fleet/direct'));
    t.match(JSON.stringify(dumped.routes), /layby-apps/);
    await t.rejects(
      mesh.cli('policy', 'dump', 'truck-8'),
      /no sidecar that is connected calls itself truck-8/,
    );
  },
);

t.test('dump of files: what a sidecar of that name and labels would have, as YAML', async (t) => {
  const args = ['policy', 'dump', 'truck-7', '--policy', file(t, FLEET)];
  const plain = await layby(args);
  t.match(
    plain.stdout,
    /^clusters:\n {2}- "@type": type\.googleapis\.com\/envoy\.config\.cluster\.v3\.Cluster\n/,
  );
  t.notMatch(plain.stdout, /layby-apps\n {16}value/);
  t.notMatch(plain.stdout, /&a1/);
  const labelled = await layby([...args, '--label', 'team=video']);
  t.not(labelled.stdout, plain.stdout);
});

t.test('a policy file that is a directory of several sources is one policy', async (t) => {
  const dir = testdir(t);
  mkdirSync(join(dir, 'more'));
  writeFileSync(join(dir, 'one.yaml'), FLEET);
  writeFileSync(join(dir, 'more', 'two.yaml'), FLEET);
  const { code, said } = await layby(['policy', 'check', join(dir, 'one.yaml'), join(dir, 'more')]);
  t.equal(code, 1);
  t.match(
    said.join('\n'),
    /two\.yaml:3:\d+: metadata\.name: the name fleet is already claimed at .*one\.yaml:3:/,
  );
});
