// The cluster of the rig is a real one, and can be broken as the tests of the source need it.

import { join } from 'node:path';
import t from 'tap';
import { noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';

t.test(
  'what the API server was told is there after a kill -9, and a watch from before a compaction is gone',
  { skip: noKubernetes },
  async (t) => {
    const cluster = await startCluster({ dir: join(testdir(t), 'cluster') });
    t.teardown(() => cluster.close());
    await cluster.kubectl(['create', 'configmap', 'kept', '--from-literal=a=1']);
    const { metadata } = (await cluster.api('GET', '/api/v1/namespaces/default/configmaps')) as {
      metadata: { resourceVersion: string };
    };
    await cluster.kubectl(['create', 'configmap', 'later', '--from-literal=a=1']);
    await cluster.apiServer.kill9();
    await t.rejects(cluster.api('GET', '/version'));
    await cluster.compact();
    await cluster.apiServer.start();
    t.equal(await cluster.kubectl(['get', 'configmap', 'kept', '-o', 'jsonpath={.data.a}']), '1');
    const watch = `/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=${metadata.resourceVersion}`;
    t.match(await cluster.api('GET', watch), { type: 'ERROR', object: { code: 410, reason: 'Expired' } });
    await t.rejects(cluster.kubectl(['get', 'nothing']), /the server doesn't have a resource type "nothing"/);
  },
);

t.test(
  'a service account has a token and is allowed only what it is given',
  { skip: noKubernetes },
  async (t) => {
    const cluster = await startCluster({ dir: join(testdir(t), 'cluster') });
    t.teardown(() => cluster.close());
    await cluster.kubectl(['create', 'serviceaccount', 'reader']);
    const token = await cluster.tokenOf('default', 'reader');
    await t.rejects(cluster.kubectl(['--token', token, 'get', 'secrets']), /forbidden/);
  },
);
