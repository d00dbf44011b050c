// `npm run bench:kubernetes`: from `kubectl apply` to the last of many real Envoys having it in force, as they say themselves; how long a
// thousand objects take to be listed and judged; what the control plane, the program that users run, takes of memory; and what an edit costs a
// fleet of control planes.
//   --envoys N  --objects N  --rounds N  --planes 1,10,100,400  --only-planes

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import type { ClientStatus } from '../src/control-plane/server/client.ts';
import { LEAN } from '../src/embedded/lean.ts';
import { KubernetesSource } from '../src/policy/sources/kubernetes/source.ts';
import { poolTo } from '../src/wire/http.ts';
import { PendingLanes } from '../src/wire/pending-lanes.ts';
import { pendingLanesFile } from '../src/wire/shared-dir.ts';
import { startCluster } from '../test/rig/kubernetes/cluster.ts';
import { installCrds } from '../test/rig/kubernetes/crds.ts';
import { endsWithTheRig } from '../test/rig/lifetime.ts';
import { machine } from './machine.ts';
import { measurePlanes } from './planes.ts';
import { allUpToDate, startSidecars } from './sidecars.ts';

const { values } = parseArgs({
  options: {
    envoys: { type: 'string', default: '20' },
    objects: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '7' },
    planes: { type: 'string', default: '1,10,100,400' },
    'only-planes': { type: 'boolean', default: false },
  },
});
const [envoys = 0, objects = 0, rounds = 0] = [values.envoys, values.objects, values.rounds].map(Number);

const dir = await mkdtemp(join(tmpdir(), 'layby-bench-'));
const at = (name: string) => join(dir, name);
const xds = { unix: at('xds.sock') };
const admin = { unix: at('admin.sock') };

const cluster = await startCluster({ dir: at('cluster') });
await installCrds(cluster);
const planes = () => measurePlanes(cluster, dir, values.planes.split(',').filter(Boolean).map(Number));
if (values['only-planes']) {
  console.log(await machine(undefined, {}));
  await planes();
  await cluster.close();
  await rm(dir, { recursive: true });
  process.exit(0);
}
const API = '/apis/layby.dev/v1alpha1/namespaces/default/destinations';

const document = (name: string, port: number) => ({
  apiVersion: 'layby.dev/v1alpha1',
  kind: 'Destination',
  metadata: { name },
  spec: { hosts: [`${name}.example`], upstream: { url: `http://127.0.0.1:${port}/` } },
});

const children: ChildProcess[] = [];
const start = (command: string, args: string[]): ChildProcess => {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...LEAN.env, LAYBY_LOG: 'error' },
  });
  endsWithTheRig(() => child.kill('SIGKILL'));
  children.push(child);
  return child;
};
// As a queue left it that had no entries: there is none here, and nothing is to be held for one.
await new PendingLanes(pendingLanesFile(at('shared'))).open([]);
const layby = start(process.execPath, [
  ...[...LEAN.flags, fileURLToPath(new URL('../bin/layby.js', import.meta.url)), 'control-plane'],
  ...['--policy-source', 'kubernetes', '--kubeconfig', cluster.kubeconfig],
  ...['--data', at('data'), '--shared', at('shared')],
  ...['--xds', `unix:${xds.unix}`, '--admin', `unix:${admin.unix}`],
  ...['--queue', `unix:${at('queue.sock')}`, '--queue-admin', `unix:${at('queue-admin.sock')}`],
]);
const rss = (): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${layby.pid}/status`, 'utf8'))?.[1]) / 1024;

const pool = poolTo(admin, { connections: 1 });
const status = async () => {
  const { body } = await pool.request({ path: '/v1/status', method: 'GET' });
  return (await body.json()) as {
    policy: { version: string | null };
    destinations: unknown[];
    sidecars: ClientStatus[];
  };
};

/** Until this is true of the control plane; ms. The question itself takes one or two. */
async function until(is: (now: Awaited<ReturnType<typeof status>>) => boolean): Promise<number> {
  const from = performance.now();
  for (const deadline = from + 120_000; performance.now() < deadline; ) {
    try {
      if (is(await status())) return performance.now() - from;
    } catch {
      await sleep(50); // it is starting
    }
  }
  throw new Error('not within two minutes');
}

const row = (what: string, took: readonly number[]): void => {
  const sorted = took.toSorted((one, other) => one - other);
  const middle = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const cells = [sorted[0] ?? 0, middle, sorted.at(-1) ?? 0].map((figure) => figure.toFixed(0));
  console.log(`| ${what} | ${cells.join(' | ')} |`);
};
console.log(
  `${envoys} Envoys, ${objects} objects, ${rounds} rounds; ${await machine(undefined, {})}\n\n| | min | median | max |\n| --- | --: | --: | --: |`,
);

await until(({ policy }) => policy.version !== null);
await sleep(5_000); // what the start leaves behind is collected
row('memory (RSS) with nothing, MiB', [rss()]);

await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(document('api', 9000)));
await startSidecars(envoys, dir, xds, start);
const all = (sidecars: ClientStatus[]) => allUpToDate(sidecars, envoys);
await until(({ sidecars }) => all(sidecars));

const applied: number[] = [];
const taken: number[] = [];
for (let round = 1; round <= rounds; round += 1) {
  const { version } = (await status()).policy;
  const inForce = until(({ policy, sidecars }) => policy.version !== version && all(sidecars));
  const began = performance.now();
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(document('api', 9000 + round)));
  applied.push(performance.now() - began);
  taken.push(await inForce);
}
row('`kubectl apply` itself, ms', applied);
row('from its start until it is in force on all, ms', taken);

for (let n = 0; n < objects; n += 20) {
  const some = Array.from({ length: Math.min(20, objects - n) }, (_, i) => n + i);
  await Promise.all(some.map((i) => cluster.api('POST', API, document(`destination-${i}`, 9000))));
}
await until(({ destinations, sidecars }) => destinations.length === objects + 1 && all(sidecars));
const judged: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const began = performance.now();
  await new Promise<void>((done) => {
    const source = new KubernetesSource({
      kubeconfig: cluster.kubeconfig,
      node: 'bench',
      inForce: () => undefined,
      refusal: () => undefined,
      standings: () => () => ({ sidecars: 0, programmed: 0 }),
      backlog: () => undefined,
      queueAnswers: () => true,
      onPolicy: ({ destinations }) => {
        judged.push(performance.now() - began);
        if (destinations.length !== objects + 1) throw new Error(`${destinations.length} destinations`);
        void source.close().then(done);
      },
      onVerdict: () => {},
      onProblem: (problem) => console.error(problem.line),
      onEndpoints: () => {},
      dir,
      log: pino({ level: 'silent' }),
    });
    source.start();
  });
}
row(`${objects} objects listed and judged, ms`, judged);
await sleep(5_000);
row(`memory (RSS) with ${objects} objects and ${envoys} sidecars, MiB`, [rss()]);

await pool.destroy();
for (const child of children) {
  child.kill('SIGKILL');
  if (child.exitCode === null) await once(child, 'exit');
}
await cluster.kubectl(['delete', 'destinations', '--all']);
await planes();
await cluster.close();
await rm(dir, { recursive: true });
