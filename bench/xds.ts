// `npm run bench:xds`: what a change costs the control plane, in state of the world and in delta, with clients in a process of
// their own: bytes, CPU, and the time until all have acknowledged. And what it costs a real Envoy.
//   --clients N  --destinations N  --rounds N  --envoy

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { pino } from 'pino';
import { bindGrpc } from '../src/control-plane/server/bind.ts';
import { DiscoveryServer } from '../src/control-plane/server/discovery.ts';
import { Snapshots } from '../src/control-plane/snapshots.ts';
import { loadXds } from '../src/control-plane/xds/registry.ts';
import { bootstrap } from '../src/embedded/bootstrap.ts';
import { findEnvoy } from '../src/parts/envoy.ts';
import { parsePolicy } from '../src/policy/parse.ts';
import type { Policy } from '../src/policy/policy.ts';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '100' },
    destinations: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '20' },
    envoy: { type: 'boolean', default: false },
  },
});
const [clients, destinations, rounds] = [values.clients, values.destinations, values.rounds].map(Number) as [
  number,
  number,
  number,
];
const VARIANTS = ['sotw', 'delta'] as const;
type Variant = (typeof VARIANTS)[number];

/** The first destination has the edit in its upstream. */
const policy = (edit: number): Policy =>
  parsePolicy([
    {
      path: 'bench.yaml',
      text: Array.from({ length: destinations }, (_, at) =>
        JSON.stringify({
          apiVersion: 'layby.dev/v1alpha1',
          kind: 'Destination',
          metadata: { name: `destination-${at}` },
          spec: {
            hosts: [`destination-${at}.example`],
            upstream: { url: `http://127.0.0.1:${at === 0 ? 10_000 + edit : 9_000 + at}/` },
          },
        }),
      ).join('\n---\n'),
    },
  ]);

const xds = await loadXds();
const median = (figures: number[]) => figures.sort((a, b) => a - b)[Math.floor(figures.length / 2)]!;

/** CPU of a process, ms: user and system, in ticks of 10 ms. */
const cpuOf = (pid: number): number => {
  const [, after = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const fields = after.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
};

async function subject(variant: Variant) {
  const snapshots = new Snapshots(xds, { host: '127.0.0.1', port: 9 });
  const server = new DiscoveryServer(xds, snapshots, pino({ level: 'silent' }));
  const grpcServer = new grpc.Server();
  server.addTo(grpcServer);
  const address = await bindGrpc(grpcServer, { host: '127.0.0.1', port: 0 });
  if (!('host' in address)) throw new Error('a port was asked for');
  snapshots.setPolicy(policy(0));
  const dir = await mkdtemp(join(tmpdir(), 'layby-bench-'));
  let child: ChildProcess;
  if (values.envoy) {
    const json = bootstrap({
      ...{ node: variant, xds: address, trustedCa: '' },
      admin: { unix: join(dir, 'admin.sock') },
      outbound: { host: '127.0.0.1', port: variant === 'delta' ? 15_801 : 15_802 },
    }) as { dynamic_resources: { ads_config: { api_type: string } } };
    json.dynamic_resources.ads_config.api_type = variant === 'delta' ? 'DELTA_GRPC' : 'GRPC';
    await writeFile(join(dir, 'envoy.json'), JSON.stringify(json));
    const args = [
      '-c',
      join(dir, 'envoy.json'),
      '--disable-hot-restart',
      '-l',
      'error',
      '--concurrency',
      '1',
    ];
    child = spawn(await findEnvoy(), args, { stdio: 'ignore' });
  } else {
    const file = fileURLToPath(new URL('xds-clients.ts', import.meta.url));
    const args = [file, `127.0.0.1:${address.port}`, variant, String(clients)];
    child = spawn(process.execPath, args, { stdio: 'inherit' });
  }
  const expected = values.envoy ? 1 : clients;
  /** Until all have taken all of it. */
  const taken = async (): Promise<void> => {
    for (;;) {
      const all = [...server.clients];
      if (all.length === expected && all.every((each) => each.upToDate)) return;
      await new Promise((resolve) => server.once('settled', resolve));
    }
  };
  const bytes = () => [...server.traffic.values()].reduce((sum, traffic) => sum + traffic.bytes, 0);
  /** Per client: bytes, CPU of the server and of the client, and ms until all have it. */
  const measure = async (change: () => void) => {
    const before = { bytes: bytes(), at: performance.now(), client: cpuOf(child.pid!) };
    const cpu = process.cpuUsage();
    change();
    await taken();
    const { user, system } = process.cpuUsage(cpu);
    return {
      bytes: (bytes() - before.bytes) / expected,
      cpu: (user + system) / expected,
      client: cpuOf(child.pid!) - before.client,
      ms: performance.now() - before.at,
    };
  };
  const connected = await measure(() => {});
  return {
    variant,
    connected,
    edit: (number: number) =>
      measure(() => {
        snapshots.setPolicy(policy(number));
        server.push();
      }),
    hold: (held: boolean) =>
      measure(() => {
        if (snapshots.setHolds(held ? ['destination-0'] : [])) server.push('runtime');
      }),
    async end() {
      child.kill('SIGKILL');
      grpcServer.forceShutdown();
      await rm(dir, { recursive: true });
    },
  };
}

type Measured = Awaited<ReturnType<Awaited<ReturnType<typeof subject>>['edit']>>;
const line = (what: string, variant: Variant, all: Measured[]) => {
  const of = (field: keyof Measured) => median(all.map((each) => each[field]));
  const mean = all.reduce((sum, each) => sum + each.client, 0) / all.length / (values.envoy ? 1 : clients);
  console.log(
    `| ${what} | ${variant} | ${Math.round(of('bytes'))} | ${Math.round(of('cpu'))} | ${Math.round(mean * 1000)} | ${of('ms').toFixed(1)} |`,
  );
};

const subjects = [];
for (const variant of VARIANTS) subjects.push(await subject(variant));
const edits = new Map<Variant, Measured[]>(VARIANTS.map((variant) => [variant, []]));
const holds = new Map<Variant, Measured[]>(VARIANTS.map((variant) => [variant, []]));
for (let round = 1; round <= rounds; round += 1)
  for (const { variant, edit, hold } of subjects) {
    edits.get(variant)!.push(await edit(round));
    holds.get(variant)!.push(await hold(round % 2 === 1));
  }
const who = values.envoy ? 'a real Envoy' : `${clients} clients`;
console.log(`${who}, ${destinations} destinations, median of ${rounds} rounds\n`);
console.log(
  '| what | variant | bytes to each | CPU of the server for each, µs | CPU of each client, µs (mean) | until all have it, ms |',
);
console.log('| --- | --- | ---: | ---: | ---: | ---: |');
for (const { variant, connected } of subjects) line('all connect', variant, [connected]);
for (const variant of VARIANTS) line('one destination edited', variant, edits.get(variant)!);
for (const variant of VARIANTS) line('one hold', variant, holds.get(variant)!);
for (const each of subjects) await each.end();
process.exit(0);
