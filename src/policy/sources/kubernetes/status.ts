// The status of a policy object: a pure function of the object and of the reports of all nodes. Its size does not grow with their number.
//
// kstatus (Helm --wait, Flux) and Argo CD read it so: `observedGeneration` behind the generation, or Ready False or Unknown: in progress.
// Stalled True: failed, without a wait. So Ready is never False for a vehicle that is away, and Stalled is there only while it is True.

import { type Entries, entriesOf } from './entries.ts';
import { messageOf, names, readyOf, type Standing, several } from './ready.ts';
import type { ObjectReport } from './report.ts';

export const CONDITIONS = [
  'Ready',
  'Accepted',
  'Programmed',
  'ResolvedRefs',
  'Nacked',
  'Stalled',
  'DeletionsHeld',
] as const;
export type ConditionType = (typeof CONDITIONS)[number];

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  observedGeneration?: number;
  /** RFC 3339 */
  lastTransitionTime: string;
}

export interface Vehicles {
  /** Nodes that report. */
  total: number;
  /** Of them, those whose sidecars all have the newest. */
  programmed: number;
  away: number;
}

export interface Status {
  observedGeneration?: number;
  conditions?: Condition[];
  /** `a.example, b.example and 3 more` */
  hosts?: string;
  vehicles?: Vehicles;
  entries?: Entries;
}

/** What one node says. */
export interface NodeView {
  node: string;
  /** Undefined: it has not seen the object. */
  report?: ObjectReport;
  /** False: the queue of the node does not answer. */
  queue: boolean;
  /** Nothing new can be heard from it. */
  away: boolean;
}

export interface Subject {
  generation: number;
  /** Its requests go through the queue. */
  queued: boolean;
  hosts: readonly string[];
  /** What the cluster itself finds wrong, where no node has judged this generation. */
  findings?: string;
  /** Which deletions nodes hold: told of the kind Mesh. */
  held?: string;
}

const HOSTS_SHOWN = 3;

const hostsText = (hosts: readonly string[]): string =>
  hosts.length <= HOSTS_SHOWN
    ? hosts.join(', ')
    : `${hosts.slice(0, HOSTS_SHOWN - 1).join(', ')} and ${hosts.length - HOSTS_SHOWN + 1} more`;

const WAITING: Standing = { status: 'Unknown', reason: 'Waiting', message: 'no vehicle has reported yet' };

const acceptedOf = ({ findings }: Subject, current: readonly NodeView[]): Standing => {
  const against = current.filter(({ report }) => report?.accepted === false);
  if (against.length > 0)
    return {
      status: 'False',
      reason: 'Invalid',
      message: messageOf(against, ({ report }) => report?.message ?? ''),
    };
  if (current.length > 0)
    return { status: 'True', reason: 'Accepted', message: `by ${several(current.length, 'control plane')}` };
  return findings === undefined ? WAITING : { status: 'False', reason: 'Invalid', message: findings };
};

const isProgrammed = ({ report }: NodeView): boolean =>
  report?.accepted === true &&
  report.nack === undefined &&
  (report.programmed ?? 0) >= (report.sidecars ?? 0);

const programmedOf = (nodes: readonly NodeView[], current: readonly NodeView[]): Standing => {
  if (nodes.length === 0) return WAITING;
  const sum = (field: 'sidecars' | 'programmed') =>
    nodes.reduce((total, { report }) => total + (report?.[field] ?? 0), 0);
  const counted = `${sum('programmed')} of ${several(sum('sidecars'), 'sidecar')} on ${several(nodes.length, 'node')}`;
  const isCurrent = new Set(current);
  const behind = nodes.filter((node) => !isCurrent.has(node));
  const waiting = current.filter((node) => !isProgrammed(node));
  if (current.some(({ report }) => report?.accepted === false))
    return { status: 'False', reason: 'Invalid', message: 'what was in force before stays in force' };
  if (current.some(({ report }) => report?.nack !== undefined))
    return { status: 'False', reason: 'Nacked', message: counted };
  if (behind.length > 0)
    return { status: 'False', reason: 'Waiting', message: `${counted}; not seen yet by ${names(behind)}` };
  if (waiting.length > 0)
    return { status: 'False', reason: 'Waiting', message: `${counted}; waiting for ${names(waiting)}` };
  return { status: 'True', reason: 'Programmed', message: counted };
};

const resolvedOf = (current: readonly NodeView[]): Standing => {
  const without = current.filter(({ report }) => report?.unresolved !== undefined);
  return without.length > 0
    ? {
        status: 'False',
        reason: 'NoEndpoints',
        message: messageOf(without, ({ report }) => report?.unresolved ?? ''),
      }
    : { status: 'True', reason: 'ResolvedRefs', message: '' };
};

const nackedOf = (current: readonly NodeView[]): Standing => {
  const against = current.filter(({ report }) => report?.nack !== undefined);
  return against.length > 0
    ? { status: 'True', reason: 'Nacked', message: messageOf(against, ({ report }) => report?.nack ?? '') }
    : { status: 'False', reason: 'NotNacked', message: '' };
};

/** `before`: since when something is so is taken from it. `now`: RFC 3339. */
export const statusOf = (
  subject: Subject,
  nodes: readonly NodeView[],
  before: Status | undefined,
  now: string,
): Required<Status> => {
  const { generation } = subject;
  const sorted = nodes.toSorted((a, b) => (a.node < b.node ? -1 : 1));
  const isCurrent = ({ report }: NodeView) => report?.observedGeneration === generation;
  const current = sorted.filter(isCurrent);
  const present = sorted.filter(({ away }) => !away);
  const accepted = acceptedOf(subject, current);
  // A refusal that only vehicles have made that are away holds nothing.
  const acceptedHere = acceptedOf(subject, present.filter(isCurrent));
  const standings: Partial<Record<ConditionType, Standing>> = {
    Ready: readyOf({
      ...{ accepted: acceptedHere, queued: subject.queued, isCurrent, isProgrammed },
      ...{ present, away: sorted.filter(({ away }) => away) },
      resolved: resolvedOf(present.filter(isCurrent)),
      nacked: nackedOf(present.filter(isCurrent)),
    }),
    Accepted: accepted,
    Programmed: programmedOf(sorted, current),
    ResolvedRefs: resolvedOf(current),
    Nacked: nackedOf(current),
    ...(acceptedHere.status === 'False' && { Stalled: { ...acceptedHere, status: 'True' } }),
    ...(subject.held !== undefined && {
      DeletionsHeld: { status: 'True', reason: 'DeletionsHeld', message: subject.held },
    }),
  };
  return {
    observedGeneration: generation,
    conditions: CONDITIONS.flatMap((type): Condition[] => {
      const standing = standings[type];
      if (!standing) return [];
      const known = before?.conditions?.find((each) => each.type === type);
      const lastTransitionTime = known?.status === standing.status ? known.lastTransitionTime : now;
      return [{ type, ...standing, observedGeneration: generation, lastTransitionTime }];
    }),
    hosts: hostsText(subject.hosts),
    vehicles: {
      total: sorted.length,
      programmed: current.filter(isProgrammed).length,
      away: sorted.length - present.length,
    },
    entries: entriesOf(sorted),
  };
};

/** Their messages say who is waited for, and how many; those of other reasons have words of Layby and Envoy. */
const COUNTING: ReadonlySet<string> = new Set(['Ready', 'Accepted', 'Programmed', 'Waiting']);

/** Who is waited for, where all are named: so the last few are seen to come, and many at once are a number. */
const named = (message: string): string =>
  / and \d+ more/.test(message) ? '' : (message.split('; ')[1] ?? '');

/** Something else than numbers has changed: those change with every pod and entry, and are not worth a write each. */
export const differs = (before: Status | undefined, after: Required<Status>): 'no' | 'in numbers' | 'yes' => {
  const shape = (status: Status, numbers: boolean) =>
    JSON.stringify([
      (status.conditions ?? []).map(({ type, status, reason, message, observedGeneration }) => [
        ...[type, status, reason, observedGeneration],
        numbers || !(COUNTING.has(reason) || type === 'Programmed') ? message : named(message),
      ]),
      ...[status.observedGeneration, status.hosts, status.entries?.dead],
      numbers
        ? [status.entries?.stored, status.vehicles?.total, status.vehicles?.programmed, status.vehicles?.away]
        : [],
    ]);
  if (before && shape(before, true) === shape(after, true)) return 'no';
  return before && shape(before, false) === shape(after, false) ? 'in numbers' : 'yes';
};
