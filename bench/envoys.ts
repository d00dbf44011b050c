// `npm run bench:envoys`: from a policy that is saved, and from an operator's word on the link, to the last of many real Envoys having
// it in force, as they say themselves. The control plane is the program that users run.
//   --envoys N  --destinations N  --rounds N

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ClientStatus } from '../src/control-plane/server/client.ts';
import { LEAN } from '../src/embedded/lean.ts';
import { poolTo } from '../src/wire/http.ts';
import { PendingLanes } from '../src/wire/pending-lanes.ts';
import { pendingLanesFile } from '../src/wire/shared-dir.ts';
import { machine } from './machine.ts';
import { allUpToDate, startSidecars } from './sidecars.ts';

const { values } = parseArgs({
  options: {
    envoys: { type: 'string', default: '20' },
    destinations: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '9' },
  },
});
const [envoys, destinations, rounds] = [values.envoys, values.destinations, values.rounds].map(Number) as [
  number,
  number,
  number,
];

const dir = await mkdtemp(join(tmpdir(), 'layby-bench-'));
const at = (name: string) => join(dir, name);
const xds = { unix: at('xds.sock') };
const admin = { unix: at('admin.sock') };

/** By a rename, as editors save. */
async function savePolicy(edit: number): Promise<void> {
  const documents = Array.from({ length: destinations }, (_, n) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name: `destination-${n}` },
      spec: {
        hosts: [`destination-${n}.example`],
        upstream: { url: `http://127.0.0.1:${n === 0 ? 10_000 + edit : 9_000 + n}/` },
      },
    }),
  );
  await writeFile(at('.policy.new'), documents.join('\n---\n'));
  await rename(at('.policy.new'), at('policy.yaml'));
}

const children: ChildProcess[] = [];
const start = (command: string, args: string[]): void => {
  children.push(
    spawn(command, args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, LAYBY_LOG: 'error' },
    }),
  );
};

await savePolicy(0);
const layby = fileURLToPath(new URL('../bin/layby.js', import.meta.url));
// As a queue left it that had no entries: there is none here, and nothing is to be held for one.
await new PendingLanes(pendingLanesFile(at('shared'))).open([]);
start(process.execPath, [
  ...[...LEAN.flags, layby, 'control-plane', '--policy', at('policy.yaml')],
  ...['--data', dir, '--shared', at('shared')],
  ...['--xds', `unix:${xds.unix}`, '--admin', `unix:${admin.unix}`],
  ...['--queue', `unix:${at('queue.sock')}`, '--queue-admin', `unix:${at('queue-admin.sock')}`],
]);
const pool = poolTo(admin, { connections: 1 });
const status = async () => {
  const { body } = await pool.request({ path: '/v1/status', method: 'GET' });
  return (await body.json()) as { policy: { version: string }; sidecars: ClientStatus[] };
};

/** Between two questions, ms: asked without a pause, the control plane would do little else. */
const PAUSE = 10;

/** Until this is true of the control plane; ms. The question itself takes one or two. */
async function until(is: (now: Awaited<ReturnType<typeof status>>) => boolean): Promise<number> {
  const from = performance.now();
  for (const deadline = from + 120_000; performance.now() < deadline; ) {
    try {
      if (is(await status())) return performance.now() - from;
    } catch {
      // It is starting.
    }
    await sleep(PAUSE);
  }
  throw new Error('not within two minutes');
}

await startSidecars(envoys, dir, xds, start);
const all = (sidecars: ClientStatus[]) => allUpToDate(sidecars, envoys);
await until(({ sidecars }) => all(sidecars));

const figures: Record<string, number[]> = { 'policy saved': [], 'link event': [] };
for (let round = 1; round <= rounds; round += 1) {
  const { version } = (await status()).policy;
  await savePolicy(round);
  figures['policy saved']!.push(
    await until(({ policy, sidecars }) => policy.version !== version && all(sidecars)),
  );
  const acks = new Map((await status()).sidecars.map(({ id, types }) => [id, types.runtime!.acks]));
  const state = round % 2 === 1 ? 'down' : 'auto';
  const from = performance.now();
  const { body } = await pool.request({
    path: '/v1/link',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ state }),
  });
  await body.dump();
  await until(({ sidecars }) => sidecars.every(({ id, types }) => types.runtime!.acks > acks.get(id)!));
  figures['link event']!.push(performance.now() - from);
}

console.log(
  `${envoys} Envoys, ${destinations} destinations, ${rounds} rounds; ${await machine(undefined, {})}\n\n| until it is in force on all, ms | min | median | max |\n| --- | --: | --: | --: |`,
);
for (const [what, took] of Object.entries(figures)) {
  const sorted = took.toSorted((one, other) => one - other);
  const [min, median, max] = [sorted[0]!, sorted[Math.floor(sorted.length / 2)]!, sorted.at(-1)!];
  console.log(`| ${what} | ${min.toFixed(0)} | ${median.toFixed(0)} | ${max.toFixed(0)} |`);
}
await pool.destroy();
for (const child of children) {
  child.kill('SIGKILL');
  if (child.exitCode === null) await once(child, 'exit');
}
await rm(dir, { recursive: true });
