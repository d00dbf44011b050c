// Where the control plane has its policy from: files, a cluster, or nothing but the disk. Whatever comes is put in force and kept for the
// next start; what is wrong is told, and what was in force stays.

import type { Wanted } from '../policy/cluster-service.ts';
import { saveLastGood } from '../policy/last-good.ts';
import type { Policy } from '../policy/policy.ts';
import { type PolicyUpdate, watchPolicyFiles } from '../policy/sources/files.ts';
import type { KubernetesOptions, KubernetesSource } from '../policy/sources/kubernetes/source.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { storedIn } from '../wire/edge-service.ts';
import type { Edge } from './edge.ts';
import { orphanedIn } from './orphaned.ts';
import { wantedBy } from './resources/endpoints.ts';
import type { DiscoveryServer } from './server/discovery.ts';
import type { Snapshots } from './snapshots.ts';
import { partsOf, standings, unresolvedOf } from './standing.ts';

export interface PolicySource {
  /** Why the newest of the source is not in force. */
  problem(): LaybyError | undefined;
  close(): Promise<void>;
  /** Where it is a cluster. */
  cluster?: KubernetesSource;
  /** What names Services of the cluster that have no endpoints. */
  unresolved?(): { name: string; why: string }[];
}

interface Into {
  dir: string;
  edge: Edge;
  log: Logger;
  /** Called after each policy that came into force. */
  look: () => void;
  /** Whether the queue works. */
  queueAnswers: () => boolean;
}

/** Returns why the policy is refused. */
function put(policy: Policy, { dir, edge, log, look }: Into): LaybyError | undefined {
  try {
    if (policy.version !== edge.policy?.version) edge.setPolicy(policy);
    look();
    log.info({ version: policy.version, destinations: policy.destinations.length }, 'policy in force');
  } catch (error) {
    log.error({ err: error }, 'policy refused; the one before stays');
    return error instanceof LaybyError ? error : new LaybyError('LAYBY_POLICY_INVALID', String(error));
  }
  saveLastGood(dir, policy).catch((error) => {
    log.error({ err: error }, 'the policy is in force but could not be kept for the next start');
  });
  return undefined;
}

/** Goes on with what the disk has. Errors: LAYBY_POLICY_UNREADABLE where it has none. */
export function noSource({ edge, log }: Into): PolicySource {
  if (!edge.policy) {
    throw new LaybyError('LAYBY_POLICY_UNREADABLE', 'there is no policy', {
      remedy: 'name one with --policy FILE',
    });
  }
  log.warn({ version: edge.policy.version }, 'no source of policy: going on with the last good one');
  return { problem: () => undefined, close: async () => {} };
}

/** Errors: LAYBY_POLICY_INVALID and LAYBY_POLICY_UNREADABLE where there is no good policy to go on with. */
export async function fileSource(paths: readonly string[], into: Into): Promise<PolicySource> {
  const { edge, log } = into;
  let problem: LaybyError | undefined;
  const watch = watchPolicyFiles(paths, ({ error, policy }: PolicyUpdate) => {
    if (policy) problem = put(policy, into);
    else {
      problem = error;
      log.error({ code: error.code, problem: error.message }, 'policy refused; the one before stays');
    }
  });
  await watch.ready;
  if (!edge.policy) {
    watch.close();
    throw problem ?? new LaybyError('LAYBY_POLICY_UNREADABLE', `no policy in ${paths.join(', ')}`);
  }
  return { problem: () => problem, close: async () => watch.close() };
}

/** Before a queue has reported, nothing is known. */
function backlogOf({ queueReported, lanes, policy }: Edge) {
  if (!queueReported) return undefined;
  return {
    destinations: new Map(
      lanes.map((lane) => [lane.destination, { entries: storedIn(lane), dead: lane.dead }]),
    ),
    orphans: orphanedIn(policy, lanes).map(({ name, entries }) => ({ destination: name, entries })),
  };
}

/** Does not wait for the API server: with a last good policy all goes on without it, and else it is not ready. */
export async function clusterSource(
  options: KubernetesOptions,
  into: Into,
  ads: DiscoveryServer,
  snapshots: Snapshots,
): Promise<PolicySource> {
  const { edge, log } = into;
  // Not before it is needed: on a machine without Kubernetes it is only weight.
  const { KubernetesSource } = await import('../policy/sources/kubernetes/source.ts');
  const { verdictText } = await import('../policy/sources/kubernetes/objects.ts');
  let problem: LaybyError | undefined;
  const follow = () => cluster.endpoints.follow(edge.policy ? wantedBy(edge.policy).values() : []);
  const missing = (wanted: Wanted) => cluster.endpoints.find(wanted).problem;
  const cluster = new KubernetesSource({
    ...options,
    ...{ dir: into.dir, log },
    inForce: () => edge.policy,
    refusal: (destination) => snapshots.refusal(destination),
    standings: () => standings(ads.clients, edge.policy ?? { destinations: [] }, missing),
    backlog: () => backlogOf(edge),
    queueAnswers: () => edge.queueReports,
    onPolicy: (policy) => {
      problem = put(policy, into);
      follow();
    },
    onEndpoints: () => {
      if (snapshots.lookAtEndpoints()) ads.push('endpoint');
    },
    onVerdict: (verdict) =>
      log.error({ problem: verdictText(verdict) }, 'an object is refused; what was in force of it stays'),
    onProblem: ({ code, line }) => log.warn({ code, problem: line }, 'the cluster cannot be asked'),
  });
  const settled = () => cluster.standingChanged();
  ads.on('settled', settled);
  edge.onQueue = settled;
  snapshots.endpointsOf = (wanted) => cluster.endpoints.find(wanted).priorities;
  // Of the last good policy.
  snapshots.lookAtEndpoints();
  follow();
  cluster.start();
  return {
    problem: () => problem ?? cluster.problem,
    close: async () => {
      ads.off('settled', settled);
      edge.onQueue = () => {};
      await cluster.close();
    },
    cluster,
    unresolved: () =>
      partsOf(edge.policy ?? { destinations: [] }).flatMap((part) => {
        const why = unresolvedOf(part, missing);
        return why === undefined ? [] : [{ name: part.name, why }];
      }),
  };
}
