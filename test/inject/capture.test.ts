// The injected pod without a kubelet: its containers as processes in a network namespace, with the arguments, the user and the order that its
// spec says, and the capture script that the image has. What is between the pod and the edge node is TLS.

import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { IDENTITY_DIR } from '../../src/inject/containers.ts';
import { injectPod } from '../../src/inject/pod.ts';
import type { Container } from '../../src/inject/pod-object.ts';
import { DEFAULT_SETTINGS } from '../../src/inject/settings.ts';
import { findEnvoy } from '../../src/parts/envoy.ts';
import { layby as command } from '../cli/layby-process.ts';
import { policyOf, untilDrained } from '../e2e/scene.ts';
import { type CurlOptions, curl } from '../rig/app.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { makeRoad, noRoad, type Road } from '../rig/namespaces.ts';
import { Oracle } from '../rig/oracle.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(240_000);

const CAPTURE = fileURLToPath(new URL('../../images/layby-capture', import.meta.url));
const EDGE = ['--xds-tls', '0.0.0.0:15010', '--inbound', '0.0.0.0:15006', '--node', 'edge'];

const noIptables = async (): Promise<string | false> =>
  run(['iptables', '--version']).then(
    () => false,
    () => 'capture needs iptables',
  );
const skip = noRoad || (await noIptables());

/** The vehicle's end of the road is the node, with the edge pod on it; the cloud's end is the pod. */
interface Scene {
  road: Road;
  oracle: Oracle;
  dir: string;
  /** `ip netns exec` of the pod, as that user. */
  inPod(argv: readonly string[], uid?: number): string[];
  /** A call of the app. */
  call(url: string, options?: CurlOptions): ReturnType<typeof curl>;
  ready(): Promise<boolean>;
  capture(): Promise<void>;
  startSidecar(): Promise<void>;
  startEdge(): Promise<Layby>;
}

async function scene(t: Test, annotations: (nodeAddress: string) => Record<string, string>): Promise<Scene> {
  const dir = testdir(t);
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const node = road.vehicle.address;
  const turned: Road = {
    ...road,
    vehicle: road.cloud,
    cloud: road.vehicle,
    inVehicle: road.inCloud,
    inCloud: road.inVehicle,
  };
  const oracle = await Oracle.start({
    file: join(dir, 'oracle.jsonl'),
    road: turned,
    port: 80,
    streamPort: 9090,
  });
  t.teardown(() => oracle.stop());
  // As the network of a cluster does it: a way out, IPv6 too.
  await run(['ip', '-n', road.cloud.name, 'route', 'add', 'default', 'via', node]);
  for (const [end, address] of [
    [road.vehicle, 'fd00:1ab::1/64'],
    [road.cloud, 'fd00:1ab::2/64'],
  ] as const)
    await run(['ip', '-n', end.name, 'addr', 'add', address, 'dev', 'road', 'nodad']);
  t.teardown(() => rm(`/etc/netns/${road.cloud.name}`, { recursive: true, force: true }));

  const data = join(dir, 'data');
  const made = injectPod(
    {
      metadata: { annotations: { 'layby.dev/resolve': 'api.example', ...annotations(node) } },
      spec: { containers: [{ name: 'app' }] },
    },
    'apps',
    DEFAULT_SETTINGS,
  ).pod.spec!;
  const hosts = (made.hostAliases ?? []).map(({ ip, hostnames }) => `${ip} ${hostnames.join(' ')}`);
  await mkdir(`/etc/netns/${road.cloud.name}`, { recursive: true });
  await writeFile(
    `/etc/netns/${road.cloud.name}/hosts`,
    ['127.0.0.1 localhost', ...hosts, 'fd00:1ab::1 both.example', '198.18.0.1 both.example', ''].join('\n'),
  );
  const container = (name: string): Container => made.initContainers!.find((each) => each.name === name)!;

  // The kubelet's part: the Secret as files, and variables of the spec in the arguments.
  const identity = join(dir, 'identity');
  // Short: Envoy's admin socket is there.
  const runDir = await mkdtemp(join(tmpdir(), 'layby-pod-'));
  t.teardown(() => rm(runDir, { recursive: true }));
  await mkdir(identity);
  await chmod(runDir, 0o777);
  await chmod(dir, 0o755);
  const secret = await command([
    'identity',
    'issue',
    'apps.default',
    '--data',
    data,
    '--secret',
    'apps/layby-default',
  ]);
  const inPlace = (text: string) =>
    text.replaceAll(IDENTITY_DIR, identity).replaceAll('/run/layby', runDir).replaceAll('$(NODE_IP)', node);
  for (const [name, text] of Object.entries(parse(secret.stdout).stringData as Record<string, string>))
    await writeFile(join(identity, name), inPlace(text));

  const inPod = (argv: readonly string[], uid = 1000) =>
    road.inCloud(['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', ...argv]);
  return {
    road,
    oracle,
    dir,
    inPod,
    call: (url, options) => curl(url, { ...options, road, end: 'cloud', maxTime: 20 }),
    async ready() {
      const { status } = await curl('http://127.0.0.1:15021/ready', { road, end: 'cloud', maxTime: 1 });
      return status === 200;
    },
    async capture() {
      await run(road.inCloud([CAPTURE, ...(container('layby-capture').args as string[])]));
    },
    async startSidecar() {
      const { args, securityContext } = container('layby-sidecar') as Container & { args: string[] };
      const [file = '', ...rest] = inPod(
        [await findEnvoy(), ...args.map(inPlace)],
        securityContext!.runAsUser,
      );
      const child = spawn(file, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
      endsWithTheTest(t, child);
    },
    async startEdge() {
      const layby = await startLayby({
        road,
        data,
        policy: policyOf({ name: 'api', hosts: ['api.example', 'both.example'], url: oracle.url }),
        extraArgs: EDGE,
      });
      t.teardown(() => layby.stop());
      return layby;
    },
  };
}

t.test(
  'an app in a pod calls its destination, and knows of nothing: online, without a link, and back',
  { skip },
  async (t) => {
    const { call, ready, capture, startSidecar, startEdge, oracle } = await scene(t, () => ({}));
    await capture();
    await capture();
    await startSidecar();
    await sleep(500);
    t.equal(await ready(), false, 'the sidecar is not ready while there is no edge pod');
    const layby = await startEdge();
    while (!(await ready())) await sleep(20);
    // No wait here: the kubelet starts the app now.
    const put = (path: string, body: string) => call(`http://api.example${path}`, { method: 'PUT', body });
    t.match(
      await put('/online', 'one'),
      { status: 200 },
      'though it sends to port 80 itself, it is not its own client',
    );
    await layby.link('down');
    const receipt = await put('/offline', 'two');
    t.match(receipt, { status: 307 });
    t.ok(receipt.headers.get('layby-entry'));
    t.match(await put('/large', 'x'.repeat(3_000_000)), { status: 307 });
    await layby.link('auto');
    await untilDrained(layby);
    const arrived = (await oracle.requests()).map(({ path, bytes }) => `${path} ${bytes}`);
    t.same(arrived.sort(), ['/large 3000000', '/offline 3', '/online 3']);
  },
);

t.test(
  'what is excluded, the loopback and other ports are not captured; what nobody names is refused',
  { skip },
  async (t) => {
    const { call, ready, capture, startSidecar, startEdge, road, oracle, inPod } = await scene(t, () => ({
      'layby.dev/capture-ports': '80,9090,9091',
      'layby.dev/exclude-ports': '9090',
      'layby.dev/exclude-cidrs': '192.0.2.0/24,2001:db8::/32',
    }));
    const node = road.vehicle.address;
    await run(['ip', '-n', road.vehicle.name, 'addr', 'add', '192.0.2.9/32', 'dev', 'lo']);
    await startEdge();
    const server = (host: string) => [
      ...[
        process.execPath,
        '-e',
        'require("http").createServer((_, to) => to.end()).listen(9091, process.argv[1])',
      ],
      host,
    ];
    for (const [file = '', ...rest] of [road.inVehicle(server('::')), inPod(server('127.0.0.1'))])
      endsWithTheTest(t, spawn(file, rest, { stdio: ['ignore', 'ignore', 'inherit'] }));
    for (const host of [node, '127.0.0.1'])
      while ((await call(`http://${host}:9091/`)).status !== 200) await sleep(20);
    await capture();
    await startSidecar();
    while (!(await ready())) await sleep(20);

    const status = async (url: string) => (await call(url)).status;
    t.equal(await status(`http://${node}:9091/`), 421, 'captured, and no destination names it');
    t.match(
      String((await call(`http://${node}:9091/`)).body),
      /no destination of the policy names this host/,
    );
    t.equal(await status('http://192.0.2.9:9091/'), 200, 'a CIDR that is excluded');
    t.equal(await status('http://127.0.0.1:9091/'), 200, 'the loopback');
    t.equal(await status(`${oracle.streamUrl}/`), 200, 'a port that is excluded');
    const v6 = await call('http://[fd00:1ab::1]:9091/');
    t.match(v6, { status: 0, exitCode: 7 }, 'IPv6 on a captured port is refused');
    t.ok(v6.ms < 2_000, 'at once');
    t.match(await call('http://both.example/v6'), { status: 200 }, 'so that an app goes on with IPv4');
    t.same(
      (await oracle.requests()).map(({ path }) => path),
      ['/v6'],
    );
  },
);

t.test('with http_proxy in its environment an app needs no capture, and no DNS', { skip }, async (t) => {
  const { call, ready, startSidecar, startEdge, oracle } = await scene(t, () => ({
    'layby.dev/capture': 'proxy',
  }));
  const layby = await startEdge();
  await startSidecar();
  while (!(await ready())) await sleep(20);
  // What injection writes into the environment, as curl reads it.
  const proxy = { args: ['--proxy', 'http://127.0.0.1:15001', '--noproxy', 'localhost,127.0.0.1'] };
  t.match(await call('http://both.example/', { method: 'PUT', body: 'one', ...proxy }), { status: 200 });
  await layby.link('down');
  t.match(await call('http://both.example/', { method: 'PUT', body: 'two', ...proxy }), { status: 307 });
  t.equal((await oracle.requests()).length, 1);
});
