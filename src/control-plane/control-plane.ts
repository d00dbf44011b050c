// The control plane as a program: policy and link come in, ADS and the admin listener go out.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { type Admission, type AdmissionOptions, serveAdmission } from '../admission/server.ts';
import { Identities } from '../identity/identities.ts';
import type { NodeAuthority } from '../identity/node-authority.ts';
import { DEFAULT_TRUST_DOMAIN, partId } from '../identity/spiffe.ts';
import { makeOwnerOnly } from '../platform/owner-only.ts';
import { loadLastGood } from '../policy/last-good.ts';
import type { Policy } from '../policy/policy.ts';
import { HELD_FILE } from '../policy/sources/kubernetes/held.ts';
import { checkNodeName } from '../policy/sources/kubernetes/names.ts';
import { policyReviewer } from '../policy/sources/kubernetes/review.ts';
import type { KubernetesOptions } from '../policy/sources/kubernetes/source.ts';
import { strandedBy, strandedText } from '../policy/stranded.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { type Address, formatAddress, isLocal } from '../wire/address.ts';
import { edgeService, storedIn } from '../wire/edge-service.ts';
import { serveHealth } from '../wire/health-server.ts';
import { poolTo } from '../wire/http.ts';
import { readPendingLanes } from '../wire/pending-lanes.ts';
import { linkMemoryFile, pendingLanesFile, sharedDirOf } from '../wire/shared-dir.ts';
import { serveAdmin } from './admin.ts';
import { edgeHandlers } from './attach.ts';
import { Edge } from './edge.ts';
import { whyRefused } from './hold.ts';
import { Links, type ProbeTarget } from './links.ts';
import { controlPlaneMetrics } from './metrics.ts';
import { orphanedIn, whyBehind } from './orphaned.ts';
import { clusterSource, fileSource, noSource } from './policy-source.ts';
import { QueueWatch } from './queue-watch.ts';
import { bindGrpc } from './server/bind.ts';
import { fileCredentials, issuedCredentials, type TlsFiles } from './server/credentials.ts';
import { DiscoveryServer } from './server/discovery.ts';
import { Snapshots } from './snapshots.ts';
import { loadXds } from './xds/registry.ts';

/** Below its data directory. */
export const IDENTITY_DIR = 'identity';
/** Below its data directory, of an older version. */
const LEGACY_OVERRIDES = 'link-overrides.json';
/** All that is in its data directory. */
const OWN_FILES = [
  ...[IDENTITY_DIR, LEGACY_OVERRIDES, HELD_FILE],
  ...['endpoints.json', 'policy.last-good.json'],
];

/** A sidecar that lives comes back within a second after a restart (envoy/bootstrap.yaml, retry_back_off); so much is waited for it, ms. */
const SIDECARS_BACK_MS = 2_000;
/** While no queue reports, its file is read this often, ms. */
const REMEMBER_EVERY_MS = 500;

export interface ControlPlaneOptions {
  /** Files and directories; none: the last good policy. */
  policy: string[];
  /** Instead of files. */
  kubernetes?: KubernetesOptions;
  /** Where the API server asks what is right; only with `kubernetes`. */
  webhook?: Pick<AdmissionOptions, 'listen' | 'certificate' | 'key'>;
  /** The last good policy is kept here. */
  dir: string;
  /** What it and the queue leave for each other over restarts; default: `shared`, beside `dir`. */
  shared?: string;
  /** Where sidecars and the queue of this machine attach (gRPC): a Unix socket, or on the loopback. */
  xds: Address;
  /** Where those of other machines do, over TLS on both sides. */
  xdsTls?: Address;
  /** What it proves itself with there; default: a certificate of the built-in authority. */
  tls?: TlsFiles;
  /** Of a certificate that the built-in authority issues, ms; default a day. It is renewed when half of that is over. */
  certificateLife?: number;
  /** Of all SPIFFE ids of the mesh; default: layby.local. */
  trustDomain?: string;
  admin: Address;
  /** What requests to the admin listener must bear; needed where that can be reached from other machines. */
  adminToken?: string;
  /** Where probes ask whether it works, and Prometheus where `metrics` is set; default: nowhere but at `admin`. */
  health?: { address: Address; metrics: boolean };
  /** Names that the admin and the health listener are called by, beside their addresses. */
  adminHosts?: readonly string[];
  /** Where sidecars reach the queue. */
  queue: Address;
  /** Where the queue's own admin listener is. */
  queueAdmin: Address;
  /** Sidecars that must be connected and up to date before it calls itself ready. */
  expectSidecars: number;
  /** Asked now and then whether the link works; default none. */
  probe?: ProbeTarget;
  log: Logger;
}

export interface ControlPlane {
  admin: Address;
  /** Where probes ask. */
  health?: Address;
  /** Where it listens over TLS. */
  xdsTls?: Address;
  /** Where the API server asks. */
  webhook?: Address;
  close(): Promise<void>;
}

/** Errors: LAYBY_ADDRESS_IN_USE, LAYBY_ADDRESS_EXPOSED, LAYBY_AUTHORITY_UNUSABLE, LAYBY_KUBERNETES_CONFIG_INVALID, LAYBY_POLICY_INVALID and LAYBY_POLICY_UNREADABLE where there is no good policy to go on with. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { log } = options;
  if (options.kubernetes) checkNodeName(options.kubernetes.node);
  const exposed = makeOwnerOnly(options.dir, OWN_FILES);
  if (exposed.length > 0) log.warn({ paths: exposed }, 'other users may read what the control plane keeps');
  const xds = await loadXds();
  const { trustDomain = DEFAULT_TRUST_DOMAIN } = options;
  const nodeAuthority = nodeAuthorityOf(options, trustDomain);
  const identities = new Identities({
    trustDomain,
    // Not before it is needed: most meshes on one machine never issue a certificate.
    authority: async () => {
      if (nodeAuthority) return nodeAuthority();
      const { Authority } = await import('../identity/authority.ts');
      return Authority.open(join(options.dir, IDENTITY_DIR), trustDomain);
    },
    log,
    ...(options.certificateLife !== undefined && { life: options.certificateLife }),
  });
  const snapshots = new Snapshots(xds, options.queue, identities);
  const ads = new DiscoveryServer(xds, snapshots, log, trustDomain);
  snapshots.onSecrets = () => ads.push('secret');
  const edge = new Edge(snapshots, ads, log);
  const shared = options.shared ?? sharedDirOf(options.dir);
  const pendingLanes = pendingLanesFile(shared);
  // Before the first response to a sidecar: a lane that may have entries is held from the start (law 3).
  const remember = () => edge.setRemembered(readPendingLanes(pendingLanes));
  remember();
  const remembering = setInterval(() => {
    if (!edge.queueReports) remember();
  }, REMEMBER_EVERY_MS).unref();
  edge.onReporter = (lanes) => {
    const marked = readPendingLanes(pendingLanes);
    const missing = lanes.filter(({ destination, entries }) => entries > 0 && !marked?.has(destination));
    if (missing.length === 0) return;
    log.error(
      { file: pendingLanes.path, destinations: missing.map(({ destination }) => destination) },
      'the file of pending lanes is not the one that the queue writes: do both have the same --shared?',
    );
  };
  ads.ready = () => edge.policy !== undefined;

  mkdirSync(options.dir, { recursive: true });
  const lastGood = lastGoodPolicy(options);
  if (lastGood) edge.setPolicy(lastGood);
  const links = new Links({
    ...{ edge, log, probe: options.probe },
    file: linkMemoryFile(shared),
    legacyFile: join(options.dir, LEGACY_OVERRIDES),
  });
  const queueWatch = new QueueWatch(poolTo(options.queueAdmin, { connections: 1 }), log);
  const queueAnswers = () => queueWatch.queueAnswers();
  const into = { dir: options.dir, edge, log, look: () => links.look(), queueAnswers };
  const policy = options.kubernetes
    ? await clusterSource({ ...options.kubernetes, authority: nodeAuthority }, into, ads, snapshots)
    : options.policy.length > 0
      ? await fileSource(options.policy, into)
      : noSource(into);
  const { cluster } = policy;
  queueWatch.onChange = () => cluster?.standingChanged();
  links.onNetwork = () => cluster?.wake();
  links.look();
  let webhook: Admission | undefined;
  if (options.webhook && cluster) {
    const reviewers = {
      '/validate': policyReviewer(
        (object) => cluster.review(object),
        (object, there) => {
          const { policy: inForce, lanes } = edge;
          if (!inForce) return [];
          const stored = new Map(lanes.map((lane) => [lane.destination, storedIn(lane)]));
          return strandedBy(inForce, cluster.policyWith(object, there), stored).map(strandedText);
        },
      ),
    };
    webhook = await serveAdmission({ ...options.webhook, reviewers, log });
  }

  const server = new grpc.Server({
    'grpc.keepalive_time_ms': 30_000,
    'grpc.max_receive_message_length': 16 * 1024 * 1024,
  });
  ads.addTo(server);
  server.addService(edgeService, edgeHandlers(edge, partId(trustDomain, 'queue')));
  mustBeLocal(options.xds);
  await bindGrpc(server, options.xds);
  let xdsTls: Address | undefined;
  if (options.xdsTls) {
    const credentials = options.tls ? fileCredentials(options.tls) : issuedCredentials(identities);
    xdsTls = await bindGrpc(server, options.xdsTls, credentials);
  }

  const startedAt = Date.now();
  const serving = performance.now();
  // On one machine there is one sidecar; how many there are on others nobody knows.
  const sidecars = options.xdsTls ? 0 : options.expectSidecars;
  edge.sidecarsBack = async () => {
    const left = serving + SIDECARS_BACK_MS - performance.now();
    if (left > 0) await ads.asked('runtime', sidecars, left);
  };
  const checks = {
    notAlive: () => undefined,
    notReady: () => notReady(edge, ads, options.expectSidecars, queueWatch.problem?.text),
  };
  const admin = await serveAdmin(options.admin, {
    ...(options.adminToken !== undefined && { token: options.adminToken }),
    ...(options.adminHosts && { hosts: options.adminHosts }),
    log,
    ...(cluster && { acceptDeletions: () => cluster.acceptDeletions() }),
    queue: options.queueAdmin,
    queueProblem: () => queueWatch.problem,
    metrics: controlPlaneMetrics(edge, ads, queueWatch, cluster),
    override: async (to, destinations) => {
      await links.override(to, destinations);
      await edge.holdsInForce();
    },
    policy: () => ({ policy: edge.policy ?? null, queue: options.queue, sidecars: ads.sidecars() }),
    notReady: checks.notReady,
    status: (queue) => {
      const lanes = queue?.lanes ?? edge.lanes;
      const destinations = edge.status(lanes).map((view) => {
        const lane = lanes.find(({ destination }) => destination === view.name);
        const former = lane?.former ?? [];
        const refused = queue?.refused?.find(({ destination }) => destination === view.name);
        return {
          ...view,
          why: whyBehind(view.name, view.state, former) ?? whyRefused(view.state, refused) ?? view.why,
          refused: refused ?? null,
          stored: lane ? storedIn(lane) : 0,
          former,
          link: { ...view.link, sources: links.sources(view.name) },
        };
      });
      const down = destinations.length > 0 && destinations.every(({ link }) => link.state === 'down');
      return {
        link: down ? 'down' : destinations.some(({ link }) => link.state === 'slow') ? 'slow' : 'up',
        network: links.network ?? null,
        policy: { version: edge.policy?.version ?? null, problem: policy.problem() ?? null },
        overrides: links.overrides,
        queue: {
          attached: edge.queueAttached,
          reported: edge.queueReported,
          answers: queue !== undefined,
          problem: queueWatch.problem?.text ?? null,
          pid: edge.queuePid,
        },
        setAside: queue?.setAside ?? null,
        destinations,
        orphaned: orphanedIn(edge.policy, lanes),
        unresolved: policy.unresolved?.() ?? [],
        sidecars: ads.status(),
        startedAt: new Date(startedAt).toISOString(),
      };
    },
  });
  const health =
    options.health &&
    (await serveHealth({
      ...{ address: options.health.address, hosts: options.adminHosts, checks, log },
      ...(options.health.metrics && { metrics: admin.metrics }),
    }));
  return {
    admin: admin.address,
    ...(health && { health: health.address }),
    ...(xdsTls && { xdsTls }),
    ...(webhook && { webhook: webhook.address }),
    async close() {
      clearInterval(remembering);
      await queueWatch.close();
      webhook?.close();
      health?.server.close();
      health?.server.closeAllConnections();
      await policy.close();
      admin.server.closeAllConnections();
      admin.server.close();
      server.forceShutdown();
      await identities.close();
      await links.close();
    },
  };
}

/** Of an edge node of a cluster, which other machines reach. Opened when it is first needed, and tried again where that fails. */
function nodeAuthorityOf(
  { kubernetes, xdsTls, tls, dir }: ControlPlaneOptions,
  trustDomain: string,
): (() => Promise<NodeAuthority>) | undefined {
  if (!kubernetes || !xdsTls || tls) return undefined;
  let opened: Promise<NodeAuthority> | undefined;
  return () => {
    opened ??= import('../identity/node-authority.ts')
      .then(({ NodeAuthority }) => NodeAuthority.open(join(dir, IDENTITY_DIR), trustDomain, kubernetes.node))
      .catch((error: unknown) => {
        opened = undefined;
        throw error;
      });
    return opened;
  };
}

/** Without TLS whoever reaches it reads all of the configuration, and is whom he likes. */
function mustBeLocal(address: Address): void {
  if (isLocal(address)) return;
  throw new LaybyError(
    'LAYBY_ADDRESS_EXPOSED',
    `${formatAddress(address)} can be reached from other machines`,
    { remedy: 'name it with --xds-tls, and a Unix socket or an address on the loopback with --xds' },
  );
}

function lastGoodPolicy({ dir, policy, kubernetes, log }: ControlPlaneOptions): Policy | undefined {
  try {
    return loadLastGood(dir);
  } catch (error) {
    if (policy.length === 0 && !kubernetes) throw error;
    log.error({ err: error }, 'the last good policy cannot be used; the sources may have a better one');
    return undefined;
  }
}

function heldCalls(edge: Edge): string {
  const held = edge.status().filter(({ hold }) => hold);
  return held.length > 0 ? `; calls are held to ${held.map(({ name }) => name).join(', ')}` : '';
}

function queueMissing(edge: Edge): string {
  return `${edge.queueAttached ? 'the queue has not reported yet' : 'the queue is not there yet'}${heldCalls(edge)}`;
}

/** Why traffic cannot flow. `problem`: why the queue does not work. */
function notReady(
  edge: Edge,
  ads: DiscoveryServer,
  sidecars: number,
  problem: string | undefined,
): string | undefined {
  if (!edge.policy) return 'no policy yet';
  if (problem !== undefined) return `${problem}${heldCalls(edge)}`;
  if (!edge.queueReports) return queueMissing(edge);
  if (edge.queuePolicy !== edge.policy.version) return 'the queue does not have the policy yet';
  const all = ads.status();
  const current = all.filter((sidecar) => sidecar.upToDate).length;
  if (all.length < sidecars) return `${all.length} of ${sidecars} sidecars are connected`;
  if (current < all.length) {
    const types = all.flatMap((sidecar) => Object.values(sidecar.types));
    const nack = types.find((type) => type.nack)?.nack;
    if (nack) return `a sidecar refused its configuration: ${nack.message}`;
    const [held] = types.flatMap((type) => type.heldBack);
    const waits = held ? `: ${held.what} wait for ${held.why}, since ${held.since}` : '';
    return `a sidecar is taking its configuration${waits}`;
  }
  return undefined;
}
