// The probes of the chart: every container that lasts has both, and what they ask answers in processes that are started with the arguments of
// the chart, where these work, and only there.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { findEnvoy } from '../../src/parts/envoy.ts';
import { policyOf } from '../e2e/scene.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { freePort } from '../rig/ports.ts';
import { run } from '../rig/run.ts';

t.setTimeout(290_000);

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LAYBY = [process.execPath, join(ROOT, 'bin/layby.js')];

interface Probe {
  httpGet: { path: string; port: string | number; host?: string; scheme?: string };
  initialDelaySeconds?: number;
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
}

interface Container {
  name: string;
  command: string[];
  args: string[];
  ports?: { name: string; containerPort: number }[];
  readinessProbe?: Probe;
  livenessProbe?: Probe;
}

interface Pod {
  hostNetwork?: boolean;
  initContainers?: Container[];
  containers: Container[];
}

interface Manifest {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  spec: {
    template: { metadata: { annotations?: Record<string, string> }; spec: Pod };
    ports?: { name: string; port: number }[];
    endpoints?: object[];
    ingress?: { ports: { port: number }[] }[];
  };
}

const template = async (...settings: string[]): Promise<Manifest[]> =>
  parseAllDocuments(
    await helm([
      ...['template', 'layby', join(ROOT, 'manifests/chart'), '--kube-version', '1.36'],
      ...settings.flatMap((each) => ['--set', each]),
    ]),
  )
    .map((each) => each.toJS() as Manifest | null)
    .filter((each) => each !== null);

const edgeOf = (manifests: Manifest[]): Pod =>
  manifests.find(({ kind }) => kind === 'DaemonSet')!.spec.template.spec;

t.test('every container that lasts has both probes, and is given time', { skip: noHelm }, async (t) => {
  for (const settings of [[], ['edge.hostNetwork=false']])
    for (const { kind, metadata, spec } of await template(...settings)) {
      if (kind !== 'DaemonSet' && kind !== 'Deployment') continue;
      for (const { name, readinessProbe, livenessProbe, ports = [] } of spec.template.spec.containers) {
        const what = `${metadata.name}: ${name}`;
        t.ok(readinessProbe, what);
        t.ok(livenessProbe, what);
        for (const probe of [readinessProbe!, livenessProbe!])
          t.ok(
            ports.some((port) => port.name === probe.httpGet.port),
            `${what}: ${probe.httpGet.port}`,
          );
        if (kind !== 'DaemonSet') continue;
        t.equal(livenessProbe!.httpGet.host, settings.length > 0 ? undefined : '127.0.0.1', what);
        const { periodSeconds = 10, failureThreshold = 3 } = livenessProbe!;
        t.ok(periodSeconds * failureThreshold >= 90, `${what}: what is only slow is not ended`);
      }
    }
});

t.test('nothing of the admin listener leaves the node', { skip: noHelm }, async (t) => {
  const all = await template('metrics.serviceMonitor.enabled=true');
  const service = all.find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'layby-edge')!;
  t.same(
    service.spec.ports!.map(({ name }) => name),
    ['xds', 'queue', 'metrics'],
  );
  const [endpoint] = all.find(({ kind }) => kind === 'ServiceMonitor')!.spec.endpoints!;
  t.same(endpoint, { port: 'metrics', path: '/metrics', interval: '30s' }, 'no token');
  const { annotations } = all.find(({ kind }) => kind === 'DaemonSet')!.spec.template.metadata;
  t.equal(annotations!['prometheus.io/port'], '15020');
  const policy = all.find(
    ({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === 'layby-edge',
  )!;
  t.same(
    policy.spec.ingress![0]!.ports.map(({ port }) => port).sort(),
    [15006, 15010, 15020],
    'nor is it let in',
  );
  const off = edgeOf(await template('metrics.annotations=false'));
  const { args } = off.containers.find(({ name }) => name === 'control-plane')!;
  t.ok(args.includes('--health=127.0.0.1:15020'), 'without metrics only the kubelet asks');
  t.notOk(args.includes('--health-metrics'));
});

interface EdgePod {
  pod: Pod;
  ports: Record<'admin' | 'health', number>;
  start(name: string): ChildProcess;
}

/** The edge pod as the chart says it, its places below a directory and its ports free ones. */
async function edgePod(t: Test): Promise<EdgePod> {
  const dir = await mkdtemp(join(tmpdir(), 'layby-p-')); // Sockets have short names.
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  for (const each of ['run', 'data', 'etc/policy', 'etc/admin'])
    await mkdir(join(dir, each), { recursive: true });
  await writeFile(join(dir, 'etc/policy/policy.yaml'), policyOf({ name: 'api', url: 'http://127.0.0.1:9' }));
  await writeFile(join(dir, 'etc/admin/token'), 'a-token-of-the-test\n');
  const names = ['admin', 'queue', 'xds', 'health', 'queueHealth', 'envoyHealth'] as const;
  const ports = Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await freePort()] as const)),
  ) as Record<(typeof names)[number], number>;
  const settings = names.map((name) => `edge.ports.${name}=${ports[name]}`);
  const pod = edgeOf(await template('policy.source=files', 'policy.configMap=policy', ...settings));
  const here = (args: string[]) =>
    args.map((arg) =>
      arg
        .replaceAll('/run/layby', join(dir, 'run'))
        .replaceAll('/var/lib/layby', join(dir, 'data'))
        .replaceAll('/etc/layby', join(dir, 'etc')),
    );
  const { args } = pod.initContainers!.find(({ name }) => name === 'bootstrap')!;
  await run([...LAYBY, ...here(args)]);
  const envoy = await findEnvoy();
  return {
    pod,
    ports,
    start: (name) => {
      const { args } = pod.containers.find((each) => each.name === name)!;
      const [file = '', ...leading] = name === 'envoy' ? [envoy] : LAYBY;
      const child = spawn(file, [...leading, ...here(args)], { stdio: 'ignore' });
      endsWithTheTest(t, child);
      return child;
    },
  };
}

/** As the kubelet asks. 0: no answer. */
async function probed({ ports = [] }: Container, { httpGet, timeoutSeconds = 1 }: Probe): Promise<number> {
  const port = ports.find(({ name }) => name === httpGet.port)?.containerPort;
  const url = `http://${httpGet.host ?? '127.0.0.1'}:${port}${httpGet.path}`;
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(timeoutSeconds * 1000) })).status;
  } catch {
    return 0;
  }
}

const both = async (container: Container): Promise<number[]> => [
  await probed(container, container.readinessProbe!),
  await probed(container, container.livenessProbe!),
];

async function untilBoth(pod: Pod, name: string, wanted: number[], timeout: number): Promise<number> {
  const container = pod.containers.find((each) => each.name === name)!;
  const from = performance.now();
  for (;;) {
    const said = await both(container);
    if (said.every((status, at) => status === wanted[at])) return performance.now() - from;
    if (performance.now() - from > timeout) throw new Error(`${name}: ${said}, not ${wanted}`);
    await sleep(200);
  }
}

t.test('what the probes ask answers where the part works, and only there', { skip: noHelm }, async (t) => {
  const { pod, ports, start } = await edgePod(t);
  const children = new Map(pod.containers.map(({ name }) => [name, start(name)]));
  for (const { name } of pod.containers) await untilBoth(pod, name, [200, 200], 60_000);

  for (const name of ['queue', 'envoy']) {
    const child = children.get(name)!;
    child.kill('SIGSTOP');
    await untilBoth(pod, name, [0, 0], 20_000);
    t.same(await both(pod.containers.find((each) => each.name === 'control-plane')!), [200, 200]);
    child.kill('SIGCONT');
    await untilBoth(pod, name, [200, 200], 20_000);
    t.pass(`${name} that is stopped is found`);
  }

  const health = `http://127.0.0.1:${ports.health}`;
  const metrics = await fetch(`${health}/metrics`);
  t.equal(metrics.status, 200, 'without a token');
  const text = await metrics.text();
  t.match(text, /^layby_queue_answers 1$/m);
  t.match(text, /^layby_store_physical_bytes /m, 'of the queue too');
  for (const path of ['/v1/status', '/v1/queue', '/v1/policy', '/v1/link'])
    t.equal((await fetch(`${health}${path}`)).status, 404, path);
  t.equal((await fetch(`${health}/healthz`, { method: 'POST', body: '' })).status, 415);
  const reaches = (port: number) =>
    new Promise<boolean>((resolve) => {
      // Another address of this machine, as one of a network would be.
      const socket = connect({ host: '127.0.0.2', port }, () => {
        socket.destroy();
        resolve(true);
      }).on('error', () => resolve(false));
    });
  t.ok(await reaches(ports.health));
  t.notOk(await reaches(ports.admin), 'the admin listener is on the loopback address alone');
});

t.test('an Envoy without a control plane answers before it would be ended', { skip: noHelm }, async (t) => {
  const { pod, start } = await edgePod(t);
  start('envoy');
  const { initialDelaySeconds = 0 } = pod.containers.find(({ name }) => name === 'envoy')!.livenessProbe!;
  const took = await untilBoth(pod, 'envoy', [200, 200], 90_000);
  t.comment(`after ${Math.round(took / 1000)} s`);
  t.ok(took < initialDelaySeconds * 1000);
});
