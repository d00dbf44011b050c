// Services of Kubernetes as upstreams: the slices that its controllers write, real Envoys in all modes of xDS, and pods that are servers at two ends of a road: one
// on the edge node with the app, one on the cloud node. The road is cut, the API server is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pool } from 'undici';
import { findEnvoy } from '../../src/parts/envoy.ts';
import type { Address } from '../../src/wire/address.ts';
import { poolTo } from '../../src/wire/http.ts';
import { bootstrapIn, plane } from '../control-plane/sidecar.ts';
import { MODES, type Mode } from '../control-plane/xds-client.ts';
import { type Cluster, noKubernetes } from '../rig/kubernetes/cluster.ts';
import { addNode } from '../rig/kubernetes/node.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { makeRoad, noRoad, type Road } from '../rig/namespaces.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';
import { aggregate } from './aggregator.ts';
import { apply, document, policyCluster, until } from './mesh.ts';

t.setTimeout(240_000);

const APP = `require('node:http').createServer((_, answer) => answer.end(process.argv[1])).listen(8080, process.argv[2], () => console.log('up'))`;

/** Until it is killed with its namespace. */
async function startIn(argv: readonly string[]): Promise<void> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
}

/** One with addresses, as a kubelet says it; `ready`: whether the cluster has seen it to be. */
async function setPod(cluster: Cluster, name: string, ip: string, ready: boolean): Promise<void> {
  const status = {
    phase: 'Running',
    podIP: ip,
    podIPs: [{ ip }],
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  };
  const path = `/api/v1/namespaces/fleet/pods/${name}/status`;
  await cluster.api('PATCH', path, { status }, 'application/strategic-merge-patch+json');
}

const pod = (name: string, node: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'fleet', labels: { app: 'map' } },
    spec: {
      nodeName: node,
      containers: [{ name: 'app', image: 'map', ports: [{ name: 'web', containerPort: 8080 }] }],
    },
  });

const service = (more: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'map', namespace: 'fleet' },
    spec: {
      selector: { app: 'map' },
      ports: [
        { name: 'web', port: 80, targetPort: 'web' },
        { name: 'other', port: 81, targetPort: 8081 },
      ],
      ...more,
    },
  });

/** On the edge node, with an app. */
async function envoyIn(
  t: Test,
  road: Road,
  { mode, xds, dir, at }: { mode: Mode; xds: Address; dir: string; at: string },
): Promise<Pool> {
  const node = `app-${at.slice(-1)}`;
  const file = join(dir, `${node}.json`);
  const outbound = { unix: `${at}.out` };
  const trustedCa = '/etc/ssl/certs/ca-certificates.crt';
  const json = bootstrapIn(mode, { node, xds, outbound, trustedCa, admin: { unix: `${at}.admin` } });
  await writeFile(file, JSON.stringify(json));
  const [ip = '', ...args] = road.inVehicle([
    await findEnvoy(),
    ...['-c', file, '--disable-hot-restart', '--log-level', 'error', '--concurrency', '1'],
  ]);
  const envoy = spawn(ip, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  endsWithTheTest(t, envoy);
  const app = poolTo(outbound);
  t.teardown(() => app.close());
  return app;
}

async function scene(t: Test) {
  const dir = testdir(t);
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const [edge, cloud] = [road.vehicle.address, road.cloud.address];
  await startIn(road.inVehicle([process.execPath, '-e', APP, 'edge', edge]));
  await startIn(road.inCloud([process.execPath, '-e', APP, 'cloud', cloud]));
  const { cluster, kubeconfig } = await policyCluster(t, dir, ['kube-controller-manager']);
  aggregate(t, cluster);
  const { kubectl } = cluster;
  await kubectl(['create', 'namespace', 'fleet']);
  while (!(await kubectl(['get', 'sa', '-n', 'fleet', '-o', 'name'])).includes('default'));
  for (const name of ['edge-1', 'cloud-1']) await addNode(cluster, name);
  await apply(cluster, service(), pod('edge', 'edge-1'), pod('cloud', 'cloud-1'));
  await setPod(cluster, 'edge', edge, true);
  await setPod(cluster, 'cloud', cloud, true);

  // What it is called must be short.
  const sockets = await mkdtemp(join(tmpdir(), 'layby-e-'));
  t.teardown(() => rm(sockets, { recursive: true, force: true }));
  const xds = { unix: join(sockets, 'xds.sock') };
  const kubernetes = { kubeconfig, node: 'edge-1' };
  const apps = await Promise.all(
    MODES.map((mode, n) => envoyIn(t, road, { mode, xds, dir, at: join(sockets, `${n}`) })),
  );
  const call = async (app: Pool) => {
    const headers = { host: 'map.example' };
    const { statusCode, body } = await app.request({ path: '/', method: 'GET', headers });
    const text = await body.text();
    return statusCode === 200 ? text : String(statusCode);
  };
  /** Of several calls in a row by each of them. */
  const calls = async (): Promise<string> => {
    const answers = new Set<string>();
    for (const app of apps) for (let i = 0; i < 8; i += 1) answers.add(await call(app));
    return [...answers].join();
  };
  return {
    ...{ dir, road, cluster, kubeconfig, edge, cloud, calls },
    start: () => plane(t, dir, xds, '', 9, { kubernetes }),
    cut: () => run(['ip', '-n', road.vehicle.name, 'link', 'set', 'road', 'down']),
    mend: async () => {
      await run(['ip', '-n', road.vehicle.name, 'link', 'set', 'road', 'up']);
      await road.readdRoutes();
    },
    /** Asks until that is the answer, and of several in a row. */
    untilCalls: async (answer: string) => {
      for (const deadline = Date.now() + 20_000; ; ) {
        const said = await calls().catch(String);
        if (said === answer) return;
        if (Date.now() > deadline) throw new Error(`${said}, not ${answer}`);
      }
    },
  };
}

t.test('an upstream that is a Service of the cluster', { skip: noKubernetes || noRoad }, async (t) => {
  const { cluster, kubeconfig: _, ...s } = await scene(t);
  let control = await s.start();
  await apply(
    cluster,
    document('map', 'http://map.fleet.svc:80', { store: { mode: 'never' } }),
    document('wrong-port', 'http://map.fleet.svc:82'),
    document('nobody', 'http://nobody.fleet.svc.cluster.local'),
  );

  await t.test('goes to the pods themselves: those of the own node first', async (t) => {
    await s.untilCalls('edge');
    await until(cluster, 'map', 'ResolvedRefs', 'True');
    await until(cluster, 'map', 'Programmed', 'True');
    t.equal(await s.calls(), 'edge');
  });

  await t.test('what has no endpoints says so in its status, and keeps no sidecar waiting', async (t) => {
    await until(
      cluster,
      'wrong-port',
      'ResolvedRefs',
      'False',
      ({ message }) => message === 'edge-1: the Service fleet/map has no port 82 over TCP; it has 80, 81',
    );
    await until(cluster, 'nobody', 'ResolvedRefs', 'False', ({ message }) =>
      /there is no Service fleet\/nobody/.test(message),
    );
    await until(cluster, 'nobody', 'Programmed', 'True');
    const { unresolved } = (await control.status()) as unknown as { unresolved: { name: string }[] };
    t.same(
      unresolved.map(({ name }) => name),
      ['nobody', 'wrong-port'],
    );
  });

  await t.test('a pod that is not ready is left for one that is, of another node', async (t) => {
    await setPod(cluster, 'edge', s.edge, false);
    await s.untilCalls('cloud');
    await setPod(cluster, 'edge', s.edge, true);
    await s.untilCalls('edge');
    t.pass();
  });

  await t.test('with the road cut, the pod of the own node answers as before', async (t) => {
    await s.cut();
    t.equal(await s.calls(), 'edge');
    await s.mend();
  });

  await t.test('the API server away, and the control plane started again: all goes on', async (t) => {
    await cluster.apiServer.kill9();
    await control.close();
    control = await s.start();
    await control.until((all) => all.length === MODES.length && all.every(({ upToDate }) => upToDate));
    t.equal(await s.calls(), 'edge');
    await cluster.apiServer.start();
  });

  await t.test('where none is ready, one that is not is better than none', async (t) => {
    await setPod(cluster, 'edge', s.edge, false);
    await setPod(cluster, 'cloud', s.cloud, false);
    const { message } = (await until(cluster, 'map', 'ResolvedRefs', 'False')).status!.conditions!.find(
      ({ type }) => type === 'ResolvedRefs',
    )!;
    t.equal(message, 'edge-1: the Service fleet/map has no endpoint that is ready');
    t.equal(await s.calls(), 'edge');
    await cluster.kubectl(['delete', 'pod', '-n', 'fleet', 'edge', '--force', '--grace-period=0']);
    await s.untilCalls('cloud');
  });

  await t.test('internalTrafficPolicy: Local is kept to', async (t) => {
    await setPod(cluster, 'cloud', s.cloud, true);
    await s.untilCalls('cloud');
    await apply(cluster, service({ internalTrafficPolicy: 'Local' }));
    await s.untilCalls('503');
    await apply(cluster, pod('edge', 'edge-1'));
    await setPod(cluster, 'edge', s.edge, true);
    await s.untilCalls('edge');
    t.pass();
  });
});
