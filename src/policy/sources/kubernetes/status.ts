// What the status of a policy object says: the word of each control plane, and the conditions that follow from all of them. Pure. Every
// control plane writes its own word and the same conclusion of what all have said, so several need no leader: the last one that
// writes has read the others.

export const CONDITIONS = ['Accepted', 'Programmed', 'ResolvedRefs', 'Nacked'] as const;
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

/** What one control plane says of one object. */
export interface NodeReport {
  node: string;
  observedGeneration: number;
  accepted: boolean;
  /** What is wrong with it. */
  message?: string;
  /** Connected to this control plane. */
  sidecars: number;
  /** Of them, those that have all of the policy. */
  programmed: number;
  /** Which sidecar has refused something of it, and its words. */
  nack?: string;
  /** Why Services of the cluster that it names have no endpoints. */
  unresolved?: string;
}

export interface Status {
  conditions?: Condition[];
  nodes?: NodeReport[];
}

/** etcd holds every word of every object. */
const LONGEST_MESSAGE = 4096;

type Standing = Pick<Condition, 'status' | 'reason' | 'message'>;

const several = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** Said once where all say the same. */
const saidBy = (reports: readonly NodeReport[], words: (report: NodeReport) => string): string => {
  const first = reports[0] ? words(reports[0]) : '';
  return reports.every((report) => words(report) === first)
    ? first
    : reports.map((report) => `${report.node}: ${words(report)}`).join('\n');
};

const acceptedOf = (current: readonly NodeReport[]): Standing => {
  const against = current.filter(({ accepted }) => !accepted);
  return against.length > 0
    ? { status: 'False', reason: 'Invalid', message: saidBy(against, ({ message = '' }) => message) }
    : { status: 'True', reason: 'Accepted', message: `by ${several(current.length, 'control plane')}` };
};

const programmedOf = (generation: number, nodes: readonly NodeReport[]): Standing => {
  const behind = nodes.filter(({ observedGeneration }) => observedGeneration !== generation);
  const waiting = nodes.filter(({ programmed, sidecars }) => programmed < sidecars);
  const sum = (field: 'sidecars' | 'programmed') => nodes.reduce((total, node) => total + node[field], 0);
  const counted = `${sum('programmed')} of ${several(sum('sidecars'), 'sidecar')} on ${several(nodes.length, 'node')}`;
  if (nodes.some(({ accepted }) => !accepted))
    return { status: 'False', reason: 'Invalid', message: 'what was in force before stays in force' };
  if (nodes.some(({ nack }) => nack !== undefined))
    return { status: 'False', reason: 'Nacked', message: counted };
  if (behind.length > 0)
    return {
      status: 'False',
      reason: 'Waiting',
      message: `${counted}; not seen yet by ${behind.map(({ node }) => node).join(', ')}`,
    };
  if (waiting.length > 0)
    return {
      status: 'False',
      reason: 'Waiting',
      message: `${counted}; waiting for ${waiting.map(({ node }) => node).join(', ')}`,
    };
  return { status: 'True', reason: 'Programmed', message: counted };
};

const resolvedOf = (nodes: readonly NodeReport[]): Standing => {
  const without = nodes.filter(({ unresolved }) => unresolved !== undefined);
  return without.length > 0
    ? {
        status: 'False',
        reason: 'NoEndpoints',
        message: saidBy(without, ({ unresolved = '' }) => unresolved),
      }
    : { status: 'True', reason: 'ResolvedRefs', message: '' };
};

const nackedOf = (nodes: readonly NodeReport[]): Standing => {
  const against = nodes.filter(({ nack }) => nack !== undefined);
  return against.length > 0
    ? {
        status: 'True',
        reason: 'Nacked',
        message: against.map((each) => `${each.node}: ${each.nack}`).join('\n'),
      }
    : { status: 'False', reason: 'NotNacked', message: '' };
};

/** The status after `mine` is said: what others have said stays. `now`: RFC 3339. */
export const statusWith = (before: Status | undefined, mine: NodeReport, now: string): Required<Status> => {
  const generation = mine.observedGeneration;
  const others = (before?.nodes ?? []).filter(({ node }) => node !== mine.node);
  const nodes = [...others, mine].sort((a, b) => (a.node < b.node ? -1 : 1));
  const current = nodes.filter(({ observedGeneration }) => observedGeneration === generation);
  const standings: Record<ConditionType, Standing> = {
    Accepted: acceptedOf(current),
    Programmed: programmedOf(generation, nodes),
    ResolvedRefs: resolvedOf(current),
    Nacked: nackedOf(current),
  };
  return {
    conditions: CONDITIONS.map((type) => {
      const { status, reason, message } = standings[type];
      const known = before?.conditions?.find((each) => each.type === type);
      return {
        type,
        status,
        reason,
        message: message.slice(0, LONGEST_MESSAGE),
        observedGeneration: generation,
        lastTransitionTime: known?.status === status ? known.lastTransitionTime : now,
      };
    }),
    nodes,
  };
};

/** Something else than numbers of sidecars has changed: those come and go with every pod, and are not worth a write each. */
export const differs = (before: Status | undefined, after: Required<Status>): 'no' | 'in numbers' | 'yes' => {
  const shape = ({ conditions = [], nodes = [] }: Status, numbers: boolean) =>
    JSON.stringify([
      conditions.map(({ type, status, reason, message, observedGeneration }) => [
        ...[type, status, reason, observedGeneration],
        numbers || type !== 'Programmed' ? message : '',
      ]),
      nodes.map(({ node, observedGeneration, accepted, message, sidecars, programmed, nack, unresolved }) => [
        ...[node, observedGeneration, accepted, message, nack, unresolved],
        ...(numbers ? [sidecars, programmed] : []),
      ]),
    ]);
  if (before && shape(before, true) === shape(after, true)) return 'no';
  return before && shape(before, false) === shape(after, false) ? 'in numbers' : 'yes';
};
