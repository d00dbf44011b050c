import { mkdirSync, openSync, renameSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { DEMO_HOST } from '../embedded/demo.ts';
import type { Mesh } from '../embedded/mesh.ts';
import { dataUnusable, LOG_FILE } from '../embedded/run-dir.ts';
import { checkTrustDomain, DEFAULT_TRUST_DOMAIN } from '../identity/spiffe.ts';
import { parseDuration, parseRate, parseSize } from '../policy/units.ts';
import { lineWriter, logger } from '../telemetry/log.ts';
import { parseAddress } from '../wire/address.ts';
import { adminHostOption, adminTokenOption, ask, DEFAULT_ADMIN, readToken } from './admin-client.ts';
import { labelOption } from './label-option.ts';
import { linkProbeEveryOption, linkProbeOption, probeUrl } from './link-probe.ts';
import { end, untilSignal } from './until-signal.ts';

interface UpOptions {
  policy: string[];
  data: string;
  outbound: string;
  outboundTls?: string;
  node: string;
  label: string[];
  admin: string;
  envoy?: string;
  storeQuota?: string;
  storeReserve?: string;
  replayRate?: string;
  storeKey?: string;
  adminTokenFile?: string;
  adminHost: string[];
  xdsTls?: string;
  inbound?: string;
  trustDomain: string;
  linkProbe?: string;
  linkProbeEvery: string;
}

/** By then a signal that ended a part has been seen here too, ms. */
const SIGNAL_MS = 200;

/** Of `/v1/status`. */
interface StatusView {
  destinations: { name: string; state: string; why: string; entries: number }[];
}

/** A log file larger than this is put aside at the start, bytes. */
const LOG_BYTES = 16 * 1024 * 1024;

export const upCommand = () =>
  new Command('up')
    .description('the whole mesh on this machine: control plane, queue, replay and a sidecar Envoy')
    .addOption(new Option('--policy <file...>', 'policy files or directories').default([], "the demo's"))
    .option('--data <dir>', 'where everything is kept', 'layby-data')
    .option('--outbound <host:port>', 'where apps call', '127.0.0.1:15001')
    .option('--outbound-tls <host:port>', 'where TLS connections of apps are led to')
    .option('--admin <address>', 'the admin listener, HOST:PORT or unix:PATH', DEFAULT_ADMIN)
    .addOption(adminTokenOption())
    .addOption(adminHostOption())
    .option('--node <id>', 'what the sidecar calls itself, for rules by app', 'local')
    .addOption(labelOption())
    .option('--envoy <path>', 'the Envoy to run (default: $ENVOY, else on the PATH, else fetched once)')
    .option(
      '--store-quota <size>',
      'the most that the store takes on the disk, like 20GiB (default: no quota)',
    )
    .option('--store-reserve <size>', 'what the store leaves free on the disk (default: 256 MiB or 5 %)')
    .option('--replay-rate <rate>', 'the most that replay sends to all destinations together, like 8Mbit/s')
    .option('--store-key <key>', 'encrypts the store: FILE or exec:COMMAND with 32 bytes, raw, hex or base64')
    .option('--xds-tls <host:port>', 'where sidecars of other machines reach the control plane, over TLS')
    .option('--inbound <host:port>', 'where they reach the queue, over TLS')
    .option('--trust-domain <name>', 'of all SPIFFE ids of the mesh', DEFAULT_TRUST_DOMAIN)
    .addOption(linkProbeOption())
    .addOption(linkProbeEveryOption())
    .action(up);

async function up(options: UpOptions): Promise<void> {
  const { data, admin: adminText, outbound: outboundText, policy, envoy, node, label: labels } = options;
  const outbound = parseAddress(outboundText, '--outbound');
  const admin = parseAddress(adminText, '--admin');
  const told = new AbortController();
  const { fd, path: logFile } = openLog(data);
  const log = logger('up', fd);
  const signal = untilSignal(log).then(() => told.abort());
  const { startMesh } = await import('../embedded/mesh.ts');
  const starting = startMesh({
    policy,
    data,
    node,
    labels,
    outbound,
    admin,
    trustDomain: options.trustDomain,
    ...(options.outboundTls ? { outboundTls: parseAddress(options.outboundTls, '--outbound-tls') } : {}),
    ...(options.inbound ? { inbound: parseAddress(options.inbound, '--inbound') } : {}),
    ...(envoy ? { envoy } : {}),
    queueArgs: queueArgs(options),
    controlPlaneArgs: controlPlaneArgs(options),
    log,
    onLog: lineWriter(fd),
    onFetch: (name) => console.error(`layby: fetching ${name} (once)`),
    onRefused: (error) =>
      console.error(`layby: the policy is refused, and the last good one is in force: ${error.line}`),
    signal: told.signal,
  });
  let mesh: Mesh;
  try {
    mesh = await starting;
  } catch (error) {
    // Told to end before it was ready: that is no failure. A Ctrl-C goes to the parts as well, and their end may be heard
    // first.
    await Promise.race([signal, sleep(SIGNAL_MS)]);
    if (told.signal.aborted) process.exit(0);
    // Elsewhere the line on stderr is in the log.
    if (logFile) log.error({ err: error }, 'start failed');
    throw error;
  }
  const { destinations } = await ask<StatusView>(
    adminText,
    'GET',
    '/v1/status',
    undefined,
    options.adminTokenFile,
  );
  const stored = destinations.filter(({ state, entries }) => state !== 'direct' || entries > 0);
  describe(mesh, { outbound: outboundText, admin: adminText, data, logFile, stored });
  console.log('layby: ready');
  await signal;
  await end(log, () => mesh.stop());
}

function controlPlaneArgs(options: UpOptions): string[] {
  const { adminTokenFile, adminHost, linkProbe, linkProbeEvery, xdsTls, trustDomain } = options;
  parseDuration(linkProbeEvery);
  if (adminTokenFile) readToken(adminTokenFile);
  if (xdsTls) parseAddress(xdsTls, '--xds-tls');
  return [
    ...['--trust-domain', checkTrustDomain(trustDomain)],
    ...(adminTokenFile ? ['--admin-token-file', adminTokenFile] : []),
    ...adminHost.flatMap((name) => ['--admin-host', name]),
    ...(xdsTls ? ['--xds-tls', xdsTls] : []),
    ...(linkProbe ? ['--link-probe', probeUrl(linkProbe), '--link-probe-every', linkProbeEvery] : []),
  ];
}

function queueArgs({ storeQuota, storeReserve, storeKey, replayRate }: UpOptions): string[] {
  for (const size of [storeQuota, storeReserve]) if (size) parseSize(size); // or each start of the queue would fail with it
  if (replayRate) parseRate(replayRate);
  return [
    ...(storeQuota ? ['--store-quota', storeQuota] : []),
    ...(storeReserve ? ['--store-reserve', storeReserve] : []),
    ...(storeKey ? ['--store-key', storeKey] : []),
    ...(replayRate ? ['--replay-rate', replayRate] : []),
  ];
}

/** On a terminal the log would drown what a person reads: it goes to a file. */
function openLog(data: string): { fd: number; path?: string } {
  if (!process.stderr.isTTY) return { fd: 2 };
  const path = join(data, LOG_FILE);
  try {
    mkdirSync(data, { recursive: true });
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES) renameSync(path, `${path}.1`);
    return { fd: openSync(path, 'a'), path };
  } catch (error) {
    throw dataUnusable(data, error);
  }
}

function describe(
  mesh: Mesh,
  at: {
    outbound: string;
    admin: string;
    data: string;
    logFile: string | undefined;
    stored: StatusView['destinations'];
  },
): void {
  const { demo, envoy, parts } = mesh;
  const rows: [string, string][] = [
    ['apps call', `http://${at.outbound}  as http_proxy, or with the Host header`],
    ['admin', `${at.admin.startsWith('unix:') ? '' : 'http://'}${at.admin}  /healthz /readyz /metrics`],
    ['processes', parts.map(({ name, pid }) => `${name} ${pid}`).join(', ')],
    ['envoy', envoy],
    ['data', resolve(at.data)],
  ];
  if (at.logFile) rows.push(['log', resolve(at.logFile)]);
  if (demo) rows.push(['demo', `http://${DEMO_HOST} → S3 at ${demo.s3.url}, files in ${demo.bucketDir}`]);
  for (const { name, entries, why } of at.stored)
    rows.push(['stored', `${entries} for ${name} from before: ${why}`]);
  console.log(`\n${rows.map(([what, where]) => `  ${what.padEnd(11)}${where}`).join('\n')}\n`);
  if (!demo) return;
  const flag = at.admin === DEFAULT_ADMIN ? '' : ` --admin ${at.admin}`;
  console.log(`Try, in another terminal:

  curl -i -x http://${at.outbound} -T package.json http://${DEMO_HOST}/clip.mp4
      uploads: the answer is S3's own
  npx layby link down${flag}
      cuts the link: upload again, and get a 307; npx layby queue ls${flag} shows it waiting
  npx layby link auto${flag}
      restores the link: what waits is sent
`);
}
