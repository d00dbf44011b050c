// The product as a user starts it, with the link down; and beside it a second Envoy with the product's own resources, in front
// of any other queue.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { holdKey } from '../src/control-plane/resources/holds.ts';
import type { Resource } from '../src/control-plane/resources/resource.ts';
import { resourcesFor } from '../src/control-plane/resources/resources.ts';
import { makeRunDir } from '../src/embedded/run-dir.ts';
import { lines } from '../src/parts/lines.ts';
import { parsePolicy } from '../src/policy/parse.ts';
import { type Address, formatAddress } from '../src/wire/address.ts';
import { listen, poolTo } from '../src/wire/http.ts';

export const HOST = 'bench.example';
const DESTINATION = 'bench';
const LAUNCHER = fileURLToPath(new URL('../bin/layby.js', import.meta.url));
const START_MS = 30_000;

const policyTo = (upstream: string): string => `apiVersion: layby.dev/v1alpha1
kind: Destination
metadata: { name: ${DESTINATION} }
spec:
  hosts: [${HOST}]
  upstream: { url: "${upstream}" }
`;

/** Nothing listens on its upstream, and nothing is sent there while the link is down. */
const NOWHERE = policyTo('http://127.0.0.1:9');

export interface Running {
  pid: number;
  /** Where apps call. */
  outbound: Address;
  /** Rejects when it ends during the run; resolves after `stop`. */
  lost: Promise<void>;
  stop(): Promise<void>;
}

export interface Mesh extends Running {
  /** Where the sidecar reaches the queue. */
  queue: Address;
  /** The admin listener. */
  admin: Address;
}

/** Programs that run; none may be left when this process ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

function run(command: string, args: string[], options: SpawnOptions) {
  const child = spawn(command, args, options);
  running.add(child);
  let stopping = false;
  const ended = once(child, 'exit').then(([code, signal]) => {
    running.delete(child);
    return { code, signal } as { code: number | null; signal: NodeJS.Signals | null };
  });
  const lost = ended.then(({ code, signal }) => {
    if (!stopping) throw new Error(`${command} ended with ${signal ?? `code ${code}`} during the run`);
  });
  lost.catch(() => {}); // whoever wants to know awaits it
  return {
    child,
    pid: child.pid!,
    ended,
    lost,
    stop: async () => {
      stopping = true;
      child.kill('SIGTERM');
      await ended;
    },
  };
}

export async function freeAddress(): Promise<Address> {
  const probe = createServer();
  const address = await listen(probe, { host: '127.0.0.1', port: 0 });
  await new Promise((closed) => probe.close(closed));
  return address;
}

interface LaybyOptions {
  /** The URL of the destination; default: nowhere, and the link is down. */
  upstream?: string;
  /** A command line to run it by, as into a namespace. */
  inside?: string[];
}

/** `layby up` with all defaults, and its log in a file: a pipe would cost this process time. */
export async function startLayby(dir: string, envoy: string, options: LaybyOptions = {}): Promise<Mesh> {
  const { upstream, inside = [] } = options;
  const [outbound, admin] = [await freeAddress(), await freeAddress()];
  const data = join(dir, 'data');
  const policy = join(dir, 'policy.yaml');
  await writeFile(policy, upstream === undefined ? NOWHERE : policyTo(upstream));
  const log = openSync(join(dir, 'layby.log'), 'w');
  const flags = ['--data', data, '--policy', policy, '--envoy', envoy];
  const [command, ...args] = [...inside, process.execPath, LAUNCHER, 'up', ...flags];
  const { child, pid, ended, lost, stop } = run(
    command!,
    [...args, '--outbound', formatAddress(outbound), '--admin', formatAddress(admin)],
    { stdio: ['ignore', 'pipe', log] },
  );
  const ready = new Promise<true>((resolve) => {
    lines(child.stdout!, (line) => {
      if (line === 'layby: ready') resolve(true);
    });
  });
  if (!(await Promise.race([ready, ended.then(() => false)])))
    throw new Error(`layby up did not start; see ${dir}/layby.log`);
  if (upstream === undefined) {
    const cut = run(process.execPath, [LAUNCHER, 'link', 'down', '--admin', formatAddress(admin)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if ((await cut.ended).code !== 0) throw new Error('layby link down failed');
  }
  return { pid, outbound, admin, queue: makeRunDir(data).queue, lost, stop };
}

/** The resources as static ones: no control plane takes part, and the hold is in force from the start. */
function staticBootstrap(outbound: Address, queue: Address, admin: string): object {
  const policy = parsePolicy([{ path: 'bench', text: NOWHERE }]);
  const { clusters, listeners, routes } = resourcesFor(
    policy,
    { outbound, trustedCa: '', discovery: 'aggregated' },
    queue,
  );
  const untyped = ({ '@type': _, ...fields }: Resource) => fields;
  const inline = (key: string, value: unknown): unknown =>
    key === 'rds' ? undefined : isManager(value) ? { ...value, route_config: untyped(routes[0]!) } : value;
  return {
    admin: { address: { pipe: { path: admin } } },
    static_resources: {
      clusters: clusters.map(untyped),
      listeners: JSON.parse(JSON.stringify(listeners.map(untyped), inline)),
    },
    layered_runtime: { layers: [{ name: 'holds', static_layer: { [holdKey(DESTINATION)]: 100 } }] },
  };
}

const isManager = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && 'rds' in value;

/** Envoy with the product's resources in front of `queue`. */
export async function startEnvoyBefore(
  queue: Address,
  envoy: string,
  dir: string,
  name: string,
): Promise<Running> {
  const outbound = await freeAddress();
  return startEnvoy({
    ...{ envoy, dir, name, outbound },
    bootstrap: (admin) => staticBootstrap(outbound, queue, admin),
  });
}

export interface EnvoyOptions {
  envoy: string;
  dir: string;
  /** Of its files in `dir`. */
  name: string;
  outbound: Address;
  /** `admin`: a path for its admin socket. */
  bootstrap: (admin: string) => object;
  /** A command line to run it by, as into a namespace. */
  inside?: string[];
}

export async function startEnvoy(options: EnvoyOptions): Promise<Running> {
  const { envoy, dir, name, outbound, bootstrap, inside = [] } = options;
  const admin = join(dir, `${name}-admin.sock`);
  const config = join(dir, `${name}-envoy.json`);
  await writeFile(config, JSON.stringify(bootstrap(admin), undefined, 2));
  const [command, ...args] = [...inside, envoy, '-c', config, '--disable-hot-restart'];
  const { pid, ended, lost, stop } = run(command!, [...args, '--log-level', 'warn', '--drain-time-s', '1'], {
    stdio: ['ignore', 'ignore', openSync(join(dir, `${name}-envoy.log`), 'w')],
  });
  const pool = poolTo({ unix: admin }, { connections: 1 });
  let failed = false;
  void ended.then(() => {
    failed = true;
  });
  try {
    for (const deadline = Date.now() + START_MS; ; ) {
      if (failed || Date.now() > deadline)
        throw new Error(`Envoy did not start; see ${dir}/${name}-envoy.log`);
      const answer = await pool.request({ path: '/ready', method: 'GET' }).catch(() => undefined);
      await answer?.body.dump();
      if (answer?.statusCode === 200) return { pid, outbound, lost, stop };
      await new Promise((again) => setTimeout(again, 20));
    }
  } finally {
    await pool.destroy();
  }
}
