import { mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { DEMO_HOST } from '../embedded/demo.ts';
import { type Mesh, startMesh } from '../embedded/mesh.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { DEFAULT_ADMIN } from './admin-client.ts';
import { end, untilSignal } from './until-signal.ts';

interface UpOptions {
  policy: string[];
  data: string;
  outbound: string;
  admin: string;
  envoy?: string;
}

/** A log file larger than this is put aside at the start, bytes. */
const LOG_BYTES = 16 * 1024 * 1024;

export const upCommand = () =>
  new Command('up')
    .description('the whole mesh on this machine: control plane, queue, replay and a sidecar Envoy')
    .option('--policy <file...>', "policy files or directories (default: the demo's)", [])
    .option('--data <dir>', 'where everything is kept', 'layby-data')
    .option('--outbound <host:port>', 'where apps call', '127.0.0.1:15001')
    .option('--admin <host:port>', 'the admin listener', DEFAULT_ADMIN)
    .option('--envoy <path>', 'the Envoy to run (default: $ENVOY, the PATH, or fetched once)')
    .action(up);

async function up(options: UpOptions): Promise<void> {
  const { data, admin: adminText, outbound: outboundText, policy, envoy } = options;
  const outbound = parseAddress(outboundText, '--outbound');
  const admin = parseAddress(adminText, '--admin');
  const signal = untilSignal();
  const { fd, path: logFile } = openLog(data);
  const starting = startMesh({
    policy,
    data,
    outbound,
    admin,
    ...(envoy ? { envoy } : {}),
    log: logger('up', fd),
    logLine: (line) => writeSync(fd, `${line}\n`),
    onFetch: (name) => console.error(`layby: fetching ${name} (once)`),
  });
  const mesh = await Promise.race([starting, signal]);
  if (mesh) {
    describe(mesh, { outbound: outboundText, admin: adminText, data, logFile });
    console.log('layby: ready');
    await signal;
  }
  await end(async () => (await starting).stop());
}

/** On a terminal the log would drown what a person reads: it goes to a file. */
function openLog(data: string): { fd: number; path?: string } {
  if (!process.stderr.isTTY) return { fd: 2 };
  const path = join(data, 'layby.log');
  try {
    mkdirSync(data, { recursive: true });
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES) renameSync(path, `${path}.1`);
    return { fd: openSync(path, 'a'), path };
  } catch (error) {
    throw new LaybyError('LAYBY_DATA_UNUSABLE', `cannot use ${data} for data (${messageOf(error)})`, {
      remedy: 'choose a directory that you may write with --data DIR',
      cause: error,
    });
  }
}

function describe(
  mesh: Mesh,
  at: { outbound: string; admin: string; data: string; logFile: string | undefined },
): void {
  const pids = mesh.parts.map((part) => `${part.name} ${part.pid}`).join(', ');
  console.log(`
  apps call        http://${at.outbound}       (as http_proxy, or with the Host header)
  admin            http://${at.admin}       (/healthz /readyz /metrics)
  data             ${at.data}
  envoy            ${mesh.envoy}
  processes        ${pids}${at.logFile ? `\n  log              ${at.logFile}` : ''}`);
  if (!mesh.demo) return;
  const adminFlag = at.admin === DEFAULT_ADMIN ? '' : ` --admin ${at.admin}`;
  console.log(`  destination      http://${DEMO_HOST}  →  S3 at ${mesh.demo.s3.url}, files in ${mesh.demo.bucketDir}

Try, in another terminal:

  curl -i -x http://${at.outbound} -T package.json http://${DEMO_HOST}/2026/clip.mp4    # upload: the answer of S3
  npx layby link down${adminFlag}                                     # cut: upload again, and get a 307
  npx layby link auto${adminFlag}                                     # restore: it arrives
`);
}
