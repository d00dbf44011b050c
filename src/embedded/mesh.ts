// The whole mesh on this machine: control plane, queue with replay, and a sidecar Envoy, each a child of this process, each
// started again when it dies. They share nothing but sockets and the data directory.

import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findEnvoy } from '../parts/envoy.ts';
import { findXdsDescriptors } from '../parts/xds-descriptors.ts';
import { loadLastGood } from '../policy/last-good.ts';
import { parsePolicy } from '../policy/parse.ts';
import { readPolicyFiles } from '../policy/sources/files.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress } from '../wire/address.ts';
import { listen, poolTo } from '../wire/http.ts';
import { bootstrap, trustedCa } from './bootstrap.ts';
import { type Demo, startDemo } from './demo.ts';
import { LEAN } from './lean.ts';
import { Part } from './part.ts';
import { lockRunDir, makeRunDir } from './run-dir.ts';

/** A start that takes longer has failed, ms. Fetching is over by then. */
const START_MS = 20_000;

export interface MeshOptions {
  /** Files and directories; none: the demo's. */
  policy: string[];
  data: string;
  /** Of the sidecar: what rules of the policy select by. Default: `local`, without labels. */
  node?: string;
  labels?: string[];
  outbound: Address;
  /** Where TLS connections of apps are led to. */
  outboundTls?: Address;
  admin: Address;
  /** Where sidecars of other machines reach the queue, over TLS. */
  inbound?: Address;
  /** Of all SPIFFE ids of the mesh. */
  trustDomain?: string;
  envoy?: string;
  /** For the queue, as `layby queue` takes them: --store-quota and the like. */
  queueArgs?: string[];
  /** For the control plane, as it takes them: --link-probe and the like. */
  controlPlaneArgs?: string[];
  log: Logger;
  /** Takes the log lines of the parts, which are JSON already. */
  onLog: (lines: Buffer) => void;
  onFetch: (name: string) => void;
  /** The policy is refused, but there is an older one to go on with. */
  onRefused: (error: LaybyError) => void;
  /** Gives up a start that is under way. */
  signal?: AbortSignal;
}

export interface Mesh {
  demo?: Demo;
  parts: Part[];
  envoy: string;
  stop(): Promise<void>;
}

const LAUNCHER = fileURLToPath(new URL('../../bin/layby.js', import.meta.url));

/** Credentials are for the process that signs. */
function without(env: NodeJS.ProcessEnv, prefix: string): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith(prefix)));
}

/** Fails early, and with a name, where a port is taken. */
async function mustBeFree(address: Address, flag: string): Promise<void> {
  const probe = createServer();
  try {
    await listen(probe, address);
  } catch (error) {
    throw new LaybyError('LAYBY_ADDRESS_IN_USE', (error as Error).message, {
      remedy: `end what uses it, or choose another address with ${flag} HOST:PORT`,
      cause: error,
    });
  }
  await new Promise((done) => probe.close(done));
}

/** Says what is wrong with the policy before anything is fetched or started. Errors: LAYBY_POLICY_INVALID and
 *  LAYBY_POLICY_UNREADABLE, where there is no last good policy to go on with. */
async function checkPolicy({ policy, onRefused }: MeshOptions, data: string): Promise<void> {
  if (policy.length === 0) return;
  try {
    parsePolicy(await readPolicyFiles(policy));
  } catch (error) {
    if (!(error instanceof LaybyError) || !hasLastGood(join(data, 'control-plane'))) throw error;
    onRefused(error);
  }
}

function hasLastGood(dir: string): boolean {
  try {
    return loadLastGood(dir) !== undefined;
  } catch {
    return false;
  }
}

/** Resolves when traffic can flow. Errors: LAYBY_DATA_UNUSABLE, LAYBY_DATA_IN_USE, LAYBY_ADDRESS_IN_USE, those of the policy and of
 *  finding the parts, LAYBY_START_FAILED with what the part said last, and the signal's reason. What had started is
 *  stopped by then. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const { log, onFetch, signal } = options;
  const data = resolve(options.data);
  const run = makeRunDir(data);
  const lock = await lockRunDir(run, data);
  const parts: Part[] = [];
  let demo: Demo | undefined;
  const stop = async () => {
    // The queue first: an answer that is on its way to it comes through Envoy.
    const [queue, ...others] = parts;
    await queue?.stop();
    await Promise.all([...others.map((part) => part.stop()), demo?.s3.stop()]);
    lock.close();
  };
  try {
    await mustBeFree(options.outbound, '--outbound');
    if (options.outboundTls) await mustBeFree(options.outboundTls, '--outbound-tls');
    await mustBeFree(options.admin, '--admin');
    await checkPolicy(options, data);
    const envoy = await findEnvoy({ path: options.envoy, onFetch, signal });
    await findXdsDescriptors({ onFetch, signal });
    if (options.policy.length === 0) demo = await startDemo(data, { log, onFetch, signal });

    const env = without(process.env, 'AWS_');
    const node = (name: string, args: string[]) =>
      new Part({
        name,
        command: process.execPath,
        args: [
          ...[...LEAN.flags, LAUNCHER, name, '--data', join(data, name), '--shared', join(data, 'shared')],
          ...args,
        ],
        env: { ...LEAN.env, ...env },
        log,
        onOutput: options.onLog,
      });
    parts.push(
      node('queue', [
        ...['--listen', formatAddress(run.queue), '--admin', formatAddress(run.queueAdmin)],
        ...['--egress', formatAddress(run.egress), '--control', formatAddress(run.xds)],
        ...(options.queueArgs ?? []),
      ]),
      node('control-plane', [
        ...(demo ? [demo.policyFile] : options.policy.map((path) => resolve(path))).flatMap((path) => [
          '--policy',
          path,
        ]),
        ...['--xds', formatAddress(run.xds), '--admin', formatAddress(options.admin)],
        ...['--queue', formatAddress(run.queue), '--queue-admin', formatAddress(run.queueAdmin)],
        ...['--expect-sidecars', '1'],
        ...(options.controlPlaneArgs ?? []),
      ]),
    );
    const bootstrapFile = join(run.path, 'bootstrap.json');
    await writeFile(
      bootstrapFile,
      JSON.stringify(
        bootstrap({
          node: options.node ?? 'local',
          labels: options.labels ?? [],
          xds: run.xds,
          admin: run.envoyAdmin,
          outbound: options.outbound,
          ...(options.outboundTls && { outboundTls: options.outboundTls }),
          egress: run.egress,
          ...(options.inbound && { inbound: options.inbound }),
          ...(options.trustDomain && { trustDomain: options.trustDomain }),
          trustedCa: await trustedCa(run.path),
        }),
        undefined,
        2,
      ),
    );
    parts.push(
      new Part({
        name: 'envoy',
        command: envoy,
        args: ['-c', bootstrapFile, '--disable-hot-restart', '--log-level', 'warn', '--drain-time-s', '1'],
        env: { ...process.env, ...demo?.credentials },
        log,
      }),
    );
    await start(parts, options.admin, signal);
    return { ...(demo ? { demo } : {}), parts, envoy, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts all parts; rejects as soon as one of them ends before traffic can flow. */
async function start(parts: Part[], admin: Address, signal: AbortSignal | undefined): Promise<void> {
  let ready = false;
  let fail: (error: LaybyError) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  for (const part of parts) {
    signal?.throwIfAborted();
    await part.start((exit) => {
      if (ready) return false;
      const said = exit.lastLines.findLast((line) => line.startsWith('layby: '));
      const last = exit.lastLines.at(-1);
      fail(
        new LaybyError(
          'LAYBY_START_FAILED',
          said?.slice('layby: '.length) ??
            `${part.name} ended with ${exit.signal ?? `code ${exit.code}`}${last ? `; it said last: ${last}` : ''}`,
        ),
      );
      return true;
    });
  }
  await Promise.race([failed, untilReady(admin, signal)]);
  ready = true;
}

async function untilReady(admin: Address, signal: AbortSignal | undefined): Promise<void> {
  const pool = poolTo(admin, { connections: 1 });
  const deadline = Date.now() + START_MS;
  let why = 'the control plane does not answer';
  try {
    while (Date.now() < deadline) {
      signal?.throwIfAborted();
      try {
        const { statusCode, body } = await pool.request({ path: '/readyz', method: 'GET' });
        why = (await body.text()).trim();
        if (statusCode === 200) return;
      } catch {}
      await new Promise((done) => setTimeout(done, 50));
    }
  } finally {
    await pool.destroy();
  }
  throw new LaybyError('LAYBY_START_FAILED', `not ready after ${START_MS / 1000} s: ${why}`, {
    remedy: 'the log says more; LAYBY_LOG=debug says most',
  });
}
