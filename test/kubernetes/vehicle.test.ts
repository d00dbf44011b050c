// A cluster of a vehicle: a node in the vehicle, one in the cloud beside the API server, a road between them that is cut. The chart's edge pod
// on both, from its images; apps as pods with sidecars, captured by the rules of their init container. Only the kubelet is the rig's
// (rig/kubernetes/kubelet.ts), and names are its hosts files: there is no DNS of a cluster.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, connect as toHost } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { layby as command } from '../cli/layby-process.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { type Cluster, noKubernetes, startCluster } from '../rig/kubernetes/cluster.ts';
import { buildImages, noImages } from '../rig/kubernetes/images.ts';
import { type Kubelet, type RunningPod, startKubelet } from '../rig/kubernetes/kubelet.ts';
import { makeRoad, noRoad, type Road } from '../rig/namespaces.ts';
import { Oracle } from '../rig/oracle.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';
import { startAggregator, startSigner } from './aggregator.ts';
import { document, until } from './mesh.ts';

t.setTimeout(400_000);

const CHART = fileURLToPath(new URL('../../manifests/chart', import.meta.url));
const API_NAME = 'kubernetes.default.svc';
const API_PORT = 6443;
/** Answers who it is, and who called. */
const MAP = `require('node:http').createServer((request, answer) => answer.end(process.env.WHERE + ' ' + request.headers['x-forwarded-client-cert'])).listen(8080, '127.0.0.1')`;
/** Takes uploads, and says which it has taken. */
const RECORDER = `const taken = [];
require('node:http').createServer((request, answer) => {
  if (request.method === 'PUT') taken.push(request.url);
  request.resume().on('end', () => answer.end(taken.join()));
}).listen(8080)`;
/** Connections of one namespace go on by a socket to another. */
const RELAY = `const net = require('node:net');
net.createServer((near) => {
  const far = net.connect(process.argv[1]);
  near.pipe(far).pipe(near);
  for (const each of [near, far]) each.on('error', () => { near.destroy(); far.destroy(); });
}).listen(${API_PORT}, process.argv[2], () => console.log('up'));`;

/** Where the cloud node has the API server, which listens on the loopback of the rig. */
async function apiServerInCloud(t: Test, cluster: Cluster, road: Road, dir: string): Promise<void> {
  const path = join(dir, 'api.sock');
  const { port } = new URL(cluster.url);
  const server = createServer((near) => {
    const far = toHost(Number(port), '127.0.0.1');
    near.pipe(far).pipe(near);
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const each of [near, far]) each.on('error', end).on('close', end);
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const [ip = '', ...args] = road.inCloud([process.execPath, '-e', RELAY, path, road.cloud.address]);
  // It ends with its namespace.
  const relay = spawn(ip, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH } });
  await once(relay.stdout, 'data');
}

interface Template {
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  spec: object;
}

const deployment = (name: string, node: string, { labels, annotations = {}, spec }: Template): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'fleet' },
  spec: {
    selector: { matchLabels: { pod: name } },
    template: {
      metadata: { labels: { pod: name, ...labels }, annotations },
      spec: {
        nodeSelector: { 'kubernetes.io/hostname': node },
        automountServiceAccountToken: false,
        ...spec,
      },
    },
  },
});

const mapOn = (node: string): object =>
  deployment(`map-${node}`, node, {
    labels: { app: 'map' },
    spec: {
      serviceAccountName: 'map',
      containers: [
        {
          name: 'app',
          image: 'layby',
          command: ['/usr/bin/node', '-e', MAP],
          env: [{ name: 'WHERE', value: node }],
        },
      ],
    },
  });

const app = (name: string, node: string): object =>
  deployment(name, node, {
    annotations: { 'layby.dev/resolve': 'map.fleet,dashcam.example,later.example,recorder.example' },
    spec: {
      serviceAccountName: name,
      containers: [
        { name: 'app', image: 'layby', command: ['/usr/bin/node', '-e', 'setInterval(() => {}, 1e6)'] },
      ],
    },
  });

const SERVICES = [
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'map', namespace: 'fleet' },
    spec: { selector: { app: 'map' }, ports: [{ port: 80, targetPort: 8080 }] },
  },
  {
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Service',
    metadata: { name: 'map', namespace: 'fleet' },
    spec: {
      hosts: ['map.fleet'],
      node: 'fleet.map',
      address: 'map.fleet.svc:15008',
      app: '127.0.0.1:8080',
      allow: ['fleet.camera', 'fleet.office'],
    },
  },
];

/** Without a sidecar: who calls it knows nothing of the mesh's certificates. */
const RECORDER_POD = deployment('recorder', 'edge', {
  spec: { containers: [{ name: 'app', image: 'layby', command: ['/usr/bin/node', '-e', RECORDER] }] },
});

/** A call of a pod's app: its status and its body. */
async function call(pod: RunningPod, url: string, { method = 'GET', body = '' } = {}): Promise<string> {
  const script = `fetch(process.argv[1], { method: process.argv[2], redirect: 'manual', ...(process.argv[3] && { body: process.argv[3] }) }).then(async (a) => console.log(a.status, await a.text()), (e) => console.log('failed', e.cause?.code ?? e.message))`;
  return (await pod.exec('app', ['/usr/bin/node', '-e', script, url, method, body])).trim();
}

async function untilCall(pod: RunningPod, url: string, expected: RegExp): Promise<void> {
  for (const deadline = Date.now() + 30_000; ; await sleep(100)) {
    const said = await call(pod, url);
    if (expected.test(said)) return;
    if (Date.now() > deadline) throw new Error(`${url}: ${said}, not ${expected}`);
  }
}

async function scene(t: Test) {
  const dir = testdir(t);
  const short = await mkdtemp(join(tmpdir(), 'layby-v-'));
  t.teardown(() => rm(short, { recursive: true, force: true }));
  const [images, cluster] = await Promise.all([
    buildImages(short),
    startCluster({
      dir: join(dir, 'cluster'),
      with: ['kube-controller-manager', 'kube-scheduler'],
      patience: 4,
    }),
  ]);
  t.teardown(() => cluster.close());
  const { kubectl } = cluster;
  const road = await makeRoad();
  t.teardown(() => road.remove());
  await apiServerInCloud(t, cluster, road, short);
  const oracle = await Oracle.start({ file: join(dir, 'oracle.jsonl'), road });
  t.teardown(() => oracle.stop());

  // One authority for both nodes.
  const data = join(dir, 'authority');
  const issue = async (node: string, secret: string) =>
    (await command(['identity', 'issue', node, '--data', data, '--secret', secret])).stdout;
  await kubectl(['create', 'namespace', 'layby-system']);
  await kubectl(['create', 'namespace', 'fleet']);
  for (const name of ['map', 'camera', 'stranger', 'office']) {
    await kubectl(['create', 'serviceaccount', name, '-n', 'fleet']);
    await kubectl(['apply', '-f', '-'], await issue(`fleet.${name}`, `fleet/layby-${name}`));
  }
  const authority = join(data, 'control-plane/identity/authority.json');
  t.match(await readFile(authority, 'utf8'), /\{/);
  await kubectl([
    'create',
    'secret',
    'generic',
    'authority',
    '-n',
    'layby-system',
    `--from-file=authority.json=${authority}`,
  ]);
  await helm(
    [
      ...['install', 'layby', CHART, '-n', 'layby-system'],
      ...['--set', 'cluster.authoritySecret=authority,inject.enabled=false,validate.enabled=false'],
    ],
    { KUBECONFIG: cluster.kubeconfig },
  );
  // There is no node but edge nodes, where the cluster part never is.
  const { aggregator } = startAggregator(t, cluster.kubeconfig, 'cluster-part', 'layby-system');
  startSigner(t, cluster.kubeconfig, aggregator, { name: 'authority', makes: false });
  const kubelets = new Map<string, Kubelet>();
  const lines: string[] = [];
  for (const [end, node, network] of [
    ['vehicle', 'edge', '10.244.1'],
    ['cloud', 'cloud', '10.244.2'],
  ] as const) {
    const kubelet = await startKubelet({
      ...{ cluster, road, end, node, network, images },
      dir: join(short, node),
      labels: { 'node-restriction.kubernetes.io/layby-edge': 'true' },
      apiServer: { name: API_NAME, address: road.cloud.address, port: API_PORT },
      onLine: (pod, container, line) => lines.push(`${node} ${pod} ${container}: ${line}`),
    });
    kubelets.set(node, kubelet);
    t.teardown(() => kubelet.close());
  }
  t.teardown(() => {
    if (!t.passing())
      t.comment(
        lines
          .filter((line) => !line.includes('"level":30'))
          .slice(-60)
          .join('\n'),
      );
  });
  const [edge, cloud] = [kubelets.get('edge')!, kubelets.get('cloud')!];
  const identityOn = (node: string) => join(short, node, 'host/var/lib/layby/control-plane/identity');
  return { dir, cluster, road, oracle, edge, cloud, identityOn };
}

/** What `kubectl apply -f -` takes, with sidecars in all that are pods. */
async function injected(dir: string, ...objects: object[]): Promise<string> {
  const file = join(dir, 'apps.yaml');
  await writeFile(file, objects.map((each) => JSON.stringify(each)).join('\n---\n'));
  const { stdout, code, said } = await command(['inject', '-f', file]);
  if (code !== 0) throw new Error(said.join('\n'));
  return stdout;
}

t.test('a vehicle and its cloud', { skip: noKubernetes || noHelm || noImages || noRoad }, async (t) => {
  const { dir, cluster, road, oracle, edge, cloud, identityOn } = await scene(t);
  const { kubectl } = cluster;
  const [edgePod] = await Promise.all([edge, cloud].map((each) => each.pod('layby-system', /^layby-edge-/)));
  const apply = (...objects: object[]) =>
    kubectl(['apply', '-f', '-'], objects.map((each) => JSON.stringify(each)).join('\n---\n'));
  await apply(...SERVICES, JSON.parse(document('dashcam', oracle.url)));
  const apps = [
    mapOn('edge'),
    mapOn('cloud'),
    app('camera', 'edge'),
    app('stranger', 'edge'),
    app('office', 'cloud'),
  ];
  await kubectl(['apply', '-f', '-'], await injected(dir, ...apps));
  const pods = await Promise.all([
    edge.pod('fleet', /^camera-/),
    edge.pod('fleet', /^stranger-/),
    cloud.pod('fleet', /^office-/),
    edge.pod('fleet', /^map-edge-/),
    cloud.pod('fleet', /^map-cloud-/),
  ]);
  const [camera, stranger, office] = pods;
  const map = (pod: RunningPod) => call(pod, 'http://map.fleet/');
  const upload = (name: string) =>
    call(camera, `http://dashcam.example/${name}`, { method: 'PUT', body: name });

  await t.test(
    'a pod calls another by its name, over TLS, on its own node, and only if it may',
    async (t) => {
      const identity = (node: string, name: string) =>
        new RegExp(`^200 ${node} .*URI=spiffe://layby\\.local/node/fleet\\.${name}`);
      await untilCall(camera, 'http://map.fleet/', identity('edge', 'camera'));
      await untilCall(office, 'http://map.fleet/', identity('cloud', 'office'));
      for (let i = 0; i < 5; i += 1) t.match(await map(camera), /^200 edge/);
      t.match(await map(stranger), /^403/);
      t.match(await upload('online'), /^200/);
      await until(cluster, 'dashcam', 'Programmed', 'True');
    },
  );

  await t.test('where its own node has none, the other node answers', async (t) => {
    await kubectl(['scale', '-n', 'fleet', 'deployment/map-edge', '--replicas=0']);
    await untilCall(camera, 'http://map.fleet/', /^200 cloud/);
    await kubectl(['scale', '-n', 'fleet', 'deployment/map-edge', '--replicas=1']);
    await edge.pod('fleet', /^map-edge-/);
    await untilCall(camera, 'http://map.fleet/', /^200 edge/);
    t.pass();
  });

  await t.test(
    'an upstream without a pod: what is sent to it is stored, and arrives when there is one',
    async (t) => {
      const url = 'http://recorder.fleet.svc:80';
      await apply(
        {
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'recorder', namespace: 'fleet' },
          spec: { selector: { pod: 'recorder' }, ports: [{ port: 80, targetPort: 8080 }] },
        },
        JSON.parse(document('recorder', url)),
      );
      await until(cluster, 'recorder', 'ResolvedRefs', 'False');
      const put = (name: string) =>
        call(camera, `http://recorder.example/${name}`, { method: 'PUT', body: name });
      for (const name of ['a', 'b']) t.match(await put(name), /^307/);
      await apply(RECORDER_POD);
      const recorder = await edge.pod('fleet', /^recorder-/);
      const taken = () => call(camera, `http://${recorder.address}:8080/`);
      while ((await taken()) !== '200 /a,/b') await sleep(100);
      await until(cluster, 'recorder', 'ResolvedRefs', 'True');
      while (!(await put('c')).startsWith('200')) await sleep(100);
      t.match(await taken(), /^200 \/a,\/b,\/c/);
    },
  );

  await t.test('no node has a key of the roots', async (t) => {
    for (const node of ['edge', 'cloud']) {
      const at = identityOn(node);
      t.same(await readdir(at), ['intermediate.json'], node);
      const saved = JSON.parse(await readFile(join(at, 'intermediate.json'), 'utf8'));
      t.match(saved, { certificate: /BEGIN CERTIFICATE/, former: [/BEGIN CERTIFICATE/] });
    }
  });

  const cut = async () => {
    await run(['ip', '-n', road.vehicle.name, 'link', 'set', 'road', 'down']);
    edge.cutOff();
  };
  await t.test('without the road both nodes go on by themselves, also through restarts', async (t) => {
    await cut();
    t.match(await map(camera), /^200 edge/);
    t.match(await map(office), /^200 cloud/);
    t.match(await upload('stored'), /^307/);
    const given = ['wait', '--for=condition=Ready=false', '-n', 'fleet', 'pod', '-l', 'pod=map-edge'];
    await kubectl([...given, '--timeout=60s']);
    await apply(JSON.parse(document('later', oracle.url)));
    await Promise.all([camera.kill9('layby-sidecar'), edgePod!.kill9('control-plane')]);
    await untilCall(camera, 'http://map.fleet/', /^200 edge/);
    t.match(await upload('after'), /^307/);
    t.match(await map(office), /^200 cloud/);
  });

  await t.test(
    'with the road back what was stored arrives, and what was decided meanwhile is in force',
    async (t) => {
      let over = false;
      const others: string[] = [];
      const calling = (async () => {
        while (!over) {
          const said = await map(camera).catch(String);
          if (!/^200 edge/.test(said)) others.push(said);
        }
      })();
      t.teardown(() => {
        over = true;
      });
      await run(['ip', '-n', road.vehicle.name, 'link', 'set', 'road', 'up']);
      await road.readdRoutes();
      // The API server has lost sight of the pods there: until the kubelet says otherwise none of them is ready.
      await untilCall(camera, 'http://later.example/', /^200/);
      await edge.reconnect();
      await kubectl([
        'wait',
        '--for=condition=Ready',
        '-n',
        'fleet',
        'pod',
        '-l',
        'pod=map-edge',
        '--timeout=60s',
      ]);
      await until(cluster, 'later', 'Programmed', 'True');
      over = true;
      await calling;
      t.same(
        others.filter((each) => !each.startsWith('200 cloud')),
        [],
        'calls meanwhile',
      );
      while ((await oracle.requests()).filter(({ method }) => method === 'PUT').length < 3) await sleep(100);
      const arrived = (await oracle.requests()).flatMap(({ method, path }) =>
        method === 'PUT' ? [path] : [],
      );
      t.same(arrived, ['/online', '/stored', '/after']);
      await untilCall(camera, 'http://map.fleet/', /^200 edge/);
    },
  );
});
