// `layby inject` as a person uses it: files in, manifests out that kubectl takes.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import type { Pod } from '../../src/inject/pod-object.ts';
import { layby } from '../cli/layby-process.ts';
import { testdir } from '../rig/testdir.ts';

const MANIFESTS = `# what belongs to the camera
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data:
  odd:   'spacing   kept'
  script: |
    --- not a document
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: camera # the front one
  namespace: apps
spec:
  template:
    metadata:
      labels: { app: camera }
    spec:
      containers:
        # what it films with
        - name: app
          image: "camera:1"
---
# tail
apiVersion: v1
kind: Service
metadata: {name:   camera}
`;

const inject = async (t: Test, text: string, ...args: string[]) => {
  const file = join(t.testdirName, 'manifests.yaml');
  await mkdir(t.testdirName, { recursive: true });
  await writeFile(file, text);
  return layby(['inject', '-f', file, ...args]);
};

const sidecars = ({ spec }: Pod): string[] => (spec?.initContainers ?? []).map(({ name }) => name);

t.test(
  'documents without pods come out as they were, to the byte; comments stay in the others',
  async (t) => {
    const { code, stdout } = await inject(t, MANIFESTS);
    t.equal(code, 0);
    const [configMap, deployment, service] = stdout.split(/^(?=---\s)/m);
    const [before, , after] = MANIFESTS.split(/^(?=---\s)/m);
    t.equal(configMap, before);
    t.equal(service, after);
    t.match(deployment, /name: camera # the front one/);
    t.match(deployment, /# what it films with\n {8}- name: app\n {10}image: "camera:1"/);
    t.same(sidecars(parse(deployment!).spec.template), ['layby-capture', 'layby-sidecar']);
    const again = await inject(t, stdout);
    t.equal(again.stdout, stdout, 'and again the same');
  },
);

t.test('every kind that runs pods, also in a List', async (t) => {
  const template = { metadata: {}, spec: { containers: [{ name: 'app', image: 'x' }] } };
  const of = (apiVersion: string, kind: string, spec: object) => ({
    apiVersion,
    kind,
    metadata: { name: 'x' },
    spec,
  });
  const items = [
    of('v1', 'Pod', template.spec),
    of('apps/v1', 'DaemonSet', { template }),
    of('apps/v1', 'StatefulSet', { template }),
    of('apps/v1', 'ReplicaSet', { template }),
    of('batch/v1', 'Job', { template }),
    of('batch/v1', 'CronJob', { jobTemplate: { spec: { template } } }),
    of('example.com/v1', 'Deployment', { template }),
  ];
  const { code, stdout } = await inject(t, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  t.equal(code, 0);
  const { items: out } = parse(stdout) as { items: { spec: Record<string, never> }[] };
  const pods = out.map(({ spec }) => {
    const { template: inner, jobTemplate } = spec as {
      template?: Pod;
      jobTemplate?: { spec: { template: Pod } };
    };
    return inner ?? jobTemplate?.spec.template ?? { spec };
  }) as Pod[];
  t.same(
    pods.map((pod) => sidecars(pod).length),
    [2, 2, 2, 2, 2, 2, 0],
    'but for a kind of somebody else with the same name',
  );
});

t.test('what gets no sidecar is said, and what is wrong names file and document', async (t) => {
  const pod = (spec: string, more = '') =>
    `apiVersion: v1\nkind: Pod\nmetadata: { name: p${more} }\nspec: { containers: [{ name: a }]${spec} }\n`;
  const quiet = await inject(t, pod(', hostNetwork: true'));
  t.match(quiet, { code: 0, said: [/no sidecar: Pod p: it uses the network of its node/] });
  t.equal(quiet.stdout, pod(', hostNetwork: true'));
  const bad = await inject(t, `a: 1\n---\n${pod('', ', annotations: { layby.dev/capture: x }')}`);
  t.match(bad, { code: 1, said: [/manifests\.yaml: Pod p: the annotation layby\.dev\/capture is "x"/] });
  t.match(await inject(t, 'a: 1\n---\na: [\n'), { code: 1, said: [/manifests\.yaml:\d+:\d+: /] });
  t.match(await layby(['inject', '-f', '/nowhere']), { code: 1, said: [/\/nowhere cannot be read/] });
});

t.test('options and a file of settings say what the webhook is told by its own', async (t) => {
  const settings = join(testdir(t), 'settings.yaml');
  await writeFile(
    settings,
    'image: registry.example/layby-envoy:2\nedge: edge.example\ncapturePorts: "80,8080"\n',
  );
  const text = 'apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: a }] }\n';
  const { stdout } = await inject(t, text, '--settings', settings, '--capture', 'proxy', '-n', 'fleet');
  const { spec } = parse(stdout) as Pod;
  t.match(spec!.initContainers, [{ name: 'layby-sidecar', image: 'registry.example/layby-envoy:2' }]);
  t.match(JSON.stringify(spec), /"fleet\.default/);
  t.match(JSON.stringify(spec), /edge\.example/);
});

t.test('a certificate for injected sidecars is printed as a Secret with all that Envoy reads', async (t) => {
  const data = testdir(t);
  const secret = ['--secret', 'apps/layby-camera'];
  const { code, stdout } = await layby(['identity', 'issue', 'apps.camera', '--data', data, ...secret]);
  t.equal(code, 0);
  const [made] = parseAllDocuments(stdout).map((each) => each.toJS());
  t.match(made, { kind: 'Secret', metadata: { namespace: 'apps', name: 'layby-camera' } });
  t.same(Object.keys(made.stringData).sort(), [
    ...['certificate.pem', 'identity.json', 'key.pem', 'roots.json', 'roots.pem'],
  ]);
  t.match(made.stringData['identity.json'], /"\/etc\/layby\/identity\/certificate\.pem"/);
  t.match(await readFile(join(data, 'control-plane/identity/authority.json'), 'utf8'), /layby\.local/);
  t.match(await layby(['identity', 'issue', 'a', '--data', data]), {
    code: 1,
    said: [/--out DIR, or a Secret/],
  });
  t.match(await layby(['identity', 'issue', 'a', '--data', data, '--secret', 'x']), {
    code: 1,
    said: [/NAMESPACE\/NAME/],
  });
});
