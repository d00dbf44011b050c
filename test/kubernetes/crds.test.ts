// What the API server itself knows of the policy by the custom resource definitions.

import { join } from 'node:path';
import t from 'tap';
import { parsePolicy } from '../../src/policy/parse.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { installCrds } from '../rig/kubernetes/crds.ts';
import { testdir } from '../rig/testdir.ts';

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

  await t.test('a list of them tells at a glance what they are', async (t) => {
    const [head = '', row = ''] = (await cluster.kubectl(['get', 'layby'])).split('\n');
    t.match(head, /^NAME +HOSTS +UPSTREAM +MODE +RECEIPT +ACCEPTED +PROGRAMMED +AGE/);
    t.match(row, /dashcam +\["dashcam.example"\] +https:\/\/s3.example +failover +redirect/);
  });
});
