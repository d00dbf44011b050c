// kubectl hears the words of policy check before a wrong object is there; and without the webhook goes on.

import { join } from 'node:path';
import t from 'tap';
import { writeCertificate } from '../rig/certificate.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregate } from './aggregator.ts';
import { apply, clusterPlane, conditionOf, document, policyCluster, until } from './mesh.ts';

t.setTimeout(120_000);

/** That of docs/kubernetes.md, but for where it is. */
const configuration = (url: string, ca: string): object => ({
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: 'layby' },
  webhooks: [
    {
      name: 'policy.layby.dev',
      admissionReviewVersions: ['v1'],
      sideEffects: 'None',
      failurePolicy: 'Ignore',
      timeoutSeconds: 3,
      rules: [
        {
          apiGroups: ['layby.dev'],
          apiVersions: ['v1alpha1'],
          operations: ['CREATE', 'UPDATE'],
          resources: ['destinations', 'services', 'meshes'],
        },
      ],
      clientConfig: { url, caBundle: Buffer.from(ca).toString('base64') },
    },
  ],
});

t.test('the validating webhook', { skip: noKubernetes }, async (t) => {
  const dir = testdir(t);
  const { cluster, kubeconfig } = await policyCluster(t, dir);
  aggregate(t, cluster);
  const ca = await writeCertificate(dir);
  const control = await clusterPlane(t, dir, {
    kubeconfig,
    webhook: {
      listen: { host: '127.0.0.1', port: 0 },
      certificate: join(dir, 'tls.crt'),
      key: join(dir, 'tls.key'),
    },
  });
  const { port } = control.control.webhook as { port: number };
  const hook = configuration(`https://127.0.0.1:${port}/validate`, ca);
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(hook));
  const url = 'http://127.0.0.1:9';
  const wrong = document('wrong', url, { answerTimeout: '1s' });
  const refused = () =>
    apply(cluster, wrong).then(
      () => false,
      () => true,
    );
  // The API server takes a moment to know of its webhook.
  while (!(await refused())) await cluster.kubectl(['delete', 'destination', 'wrong']);

  await t.test('kubectl prints what is wrong and what to do', async (t) => {
    await t.rejects(apply(cluster, wrong), {
      message:
        /admission webhook "policy.layby.dev" denied the request: spec.answerTimeout: expected at least 2s, but found 1s\ncorrect these places; what is in force stays in force/,
    });
    const service = {
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Service',
      metadata: { name: 'map' },
      spec: { hosts: ['[::g]'], node: 'a', address: '10.0.0.2:99999', app: '127.0.0.1:80', allow: ['b'] },
    };
    await t.rejects(apply(cluster, JSON.stringify(service)), /spec/);
    await t.rejects(cluster.kubectl(['get', 'destination', 'wrong']), /not found/);
  });

  await t.test('a host that another has is refused, also in an edit; one of its own is not', async (t) => {
    await apply(cluster, document('api', url), document('other', url));
    await until(cluster, 'api', 'Accepted', 'True');
    await until(cluster, 'other', 'Accepted', 'True');
    const thief = document('thief', url, { hosts: ['x.example', 'API.example'] });
    await t.rejects(
      apply(cluster, thief),
      /spec.hosts\[1\]: the host api.example is already claimed by destination default\/api/,
    );
    await t.rejects(
      apply(cluster, document('api', url, { hosts: ['other.example'] })),
      /the host other.example is already claimed by destination default\/other/,
    );
    await apply(cluster, document('api', url, { hosts: ['api.example', 'more.example'] }));
    await cluster.kubectl(['delete', 'destination', 'other']);
  });

  await t.test('of meshes there is one', async (t) => {
    const mesh = (name: string) =>
      JSON.stringify({
        ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Mesh', metadata: { name } },
        spec: { passthrough: 'allow' },
      });
    await apply(cluster, mesh('fleet'));
    await cluster.kubectl(['wait', '--for=condition=Accepted', '--timeout=60s', 'mesh/fleet']);
    await t.rejects(
      apply(cluster, mesh('other')),
      /the one object of kind Mesh is already mesh default\/fleet/,
    );
  });

  await t.test('a status is written past it, and metadata alone is no reason to refuse', async (t) => {
    const patch = '{"metadata":{"labels":{"team":"video"}}}';
    await cluster.kubectl(['patch', 'destination', 'api', '--type=merge', '-p', patch]);
    const object = await until(cluster, 'api', 'Programmed', 'True');
    t.match(object.metadata, { labels: { team: 'video' } });
  });

  await t.test('without it edits are taken, and the next control plane judges them', async (t) => {
    await control.close();
    await apply(cluster, wrong);
    await clusterPlane(t, dir, { kubeconfig });
    const object = await until(cluster, 'wrong', 'Accepted', 'False');
    t.match(conditionOf(object, 'Accepted')?.message, /expected at least 2s/);
  });
});
