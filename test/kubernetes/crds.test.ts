// What the API server itself knows of the policy by the custom resource definitions.

import { join } from 'node:path';
import t from 'tap';
import { parsePolicy } from '../../src/policy/parse.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { installCrds } from '../rig/kubernetes/crds.ts';
import { testdir } from '../rig/testdir.ts';

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

const document = (more = '', name = 'dashcam') => `apiVersion: layby.dev/v1alpha1
kind: Destination
metadata: { name: ${name} }
spec:
  hosts: [${name}.example]
  upstream: { url: https://s3.example }
  ${more}
`;

t.test('the custom resources on a real API server', { skip: noKubernetes }, async (t) => {
  const cluster: Cluster = await startCluster({ dir: join(testdir(t), 'cluster') });
  t.teardown(() => cluster.close());
  await installCrds(cluster);
  const apply = (text: string) => cluster.kubectl(['apply', '-f', '-'], text);

  await t.test(
    'a file of policy is applied as it is, and means the same with the defaults filled in',
    async (t) => {
      await apply(document());
      const { spec } = JSON.parse(await cluster.kubectl(['get', 'dest', 'dashcam', '-o', 'json'])) as {
        spec: { store: { mode: string }; replay: { retry: { max: string } } };
      };
      t.equal(spec.store.mode, 'failover');
      t.equal(spec.replay.retry.max, '30s');
      const defaulted = JSON.stringify({
        apiVersion: 'layby.dev/v1alpha1',
        kind: 'Destination',
        metadata: { name: 'dashcam' },
        spec,
      });
      t.equal(
        parsePolicy([{ path: 'cluster', text: defaulted }]).version,
        parsePolicy([{ path: 'file', text: document() }]).version,
      );
    },
  );

  await t.test('what the schema and its rules refuse, kubectl says, and nothing of it is kept', async (t) => {
    const refused: [string, RegExp][] = [
      ['store: { mode: sometimes }', /spec.store.mode: Unsupported value: "sometimes"/],
      ['store: { modee: never }', /unknown field "spec.store.modee"/],
      ['store: { ttl: 90 s }', /spec.store.ttl: Invalid value/],
      ['store: { methods: [get] }', /methods that only read, and CONNECT, cannot be stored/],
      ['retries: { "on": [410] }', /expected 408, 425, 429 or 500 to 599/],
      ['rules: [{ match: {} }]', /expected something that is other for these requests/],
      [
        'rules: [{ match: { path: { prefix: /a, exact: /b } }, store: { mode: never } }]',
        /expected one of prefix, exact and regex/,
      ],
      ['rules: [{ match: { apps: {} }, store: { mode: never } }]', /expected nodes, labels or both/],
      [
        'rules: [{ match: {}, upstream: { url: "http://a.example", split: [{ url: "http://b.example", percent: 60 }, { url: "http://c.example", percent: 40 }] } }]',
        /expected less than 100 percent together in split/,
      ],
      [
        'rules: [{ match: {}, upstream: { url: "http://a.example", sign: { aws: { service: s3, region: a } }, mirror: { url: "http://b.example" } } }]',
        /split and mirror do not go together with sign/,
      ],
      // YAML 1.1 reads an `on` without quotes as true, and kubectl does.
      ['retries: { on: [503] }', /unknown field "spec.retries.true"/],
    ];
    for (const [more, words] of refused) await t.rejects(apply(document(more, 'bad')), words, more);
    await t.rejects(apply(document('', 'x'.repeat(64))), /metadata.name: Invalid value/);
    t.notMatch(await cluster.kubectl(['get', 'destinations']), /bad|xxx/);
  });

  await t.test('a text of another form is refused in the words of policy check', async (t) => {
    const ttl = 'a duration like 90s, 15m, 12h or 7d';
    const host = 'a host name without port, like api.example, or *.example for any name below it';
    const header = 'a header like "X-Fleet: north"';
    for (const [more, path, expected] of [
      ['store: { ttl: 90 s }', 'spec.store.ttl', ttl],
      ['store: { quota: 5G }', 'spec.store.quota', 'a size like 500MB or 20GiB'],
      ['replay: { rate: 8Mb }', 'spec.replay.rate', 'a rate like 8Mbit/s or 500KiB/s'],
      ['headers: { request: { set: ["X: "] } }', 'spec.headers.request.set[0]', header],
      [
        'rules: [{ match: {}, headers: { request: { set: [X] } } }]',
        'spec.rules[0].headers.request.set[0]',
        header,
      ],
      [
        'rules: [{ match: { path: { prefix: up } }, store: { mode: never } }]',
        'spec.rules[0].match.path.prefix',
        'a path that begins with /, without query',
      ],
    ] as const) {
      await t.rejects(
        apply(document(more, 'bad')),
        { message: new RegExp(`${escaped(path)}: .*: expected ${escaped(expected)}`) },
        more,
      );
    }
    await t.rejects(apply(document('', 'a.b')), /metadata.name: .*expected a DNS label: lower-case letters/);
    await t.rejects(apply(document('', 'bad').replace('bad.example', 'http://x')), new RegExp(escaped(host)));
    const service = `apiVersion: layby.dev/v1alpha1
kind: Service
metadata: { name: map }
spec: { hosts: [map.vehicle], node: map, address: "10.0.0.2:15008", app: "127.0.0.1:8080", allow: [ALLOWED] }
`;
    await t.rejects(apply(service.replace('ALLOWED', '"a b"')), /expected a node id, or a SPIFFE id/);
    await apply(service.replace('ALLOWED', 'fleet.camera, "spiffe://fleet.example/a/b"'));
  });

  await t.test('kubectl explain names the form of a field', async (t) => {
    for (const [field, words] of [
      ['destination.spec.store.ttl', /Format: a duration like 90s, 15m, 12h or 7d/],
      ['destination.spec.store.quota', /Format: a size like 500MB or 20GiB/],
      ['destination.spec.replay.linkRates.lte', /Format: a rate like 8Mbit\/s/],
      ['destination.spec.hosts', /Each is a host name without port/],
      ['destination.spec.rules.match.apps.labels', /Each is a label like team=video/],
      ['destination', /Servers that apps call/],
      ['lsvc.spec.address', /Format: HOST:PORT, like 10.0.0.2:15008/],
      ['mesh.spec.passthrough', /`deny`: they are refused with 421/],
      ['report.objects.nack', /refused/],
    ] as const)
      t.match((await cluster.kubectl(['explain', field])).replace(/\s+/g, ' '), words, field);
  });

  await t.test('a list of them tells at a glance what they are', async (t) => {
    const [head = '', row = ''] = (await cluster.kubectl(['get', 'layby'])).split('\n');
    t.match(head, /^NAME +HOSTS +UPSTREAM +MODE +RECEIPT +READY +ACCEPTED +PROGRAMMED +AGE/);
    t.match(row, /dashcam +https:\/\/s3.example +failover +redirect +Unknown +Unknown/);
  });
});
