// Whether all vehicles that are here have a policy object, and what the status says of it. Pure.

import type { Condition, NodeView } from './status.ts';

export type Standing = Pick<Condition, 'status' | 'reason' | 'message'>;

/** Nodes that a message names. */
const NAMED = 5;
/** etcd keeps it for each object, and each watcher is sent it. */
const LONGEST_MESSAGE = 2048;

export const several = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** `edge-1, edge-2 and 7 more` */
export const names = (nodes: readonly { node: string }[]): string => {
  const shown = nodes.slice(0, NAMED).map(({ node }) => node);
  const more = nodes.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
};

/** A line for each text, with the nodes that have it. The node of one text alone is named too. */
export const messageOf = <Each extends { node: string }>(
  nodes: readonly Each[],
  text: (node: Each) => string,
): string => {
  const texts = new Map<string, Each[]>();
  for (const node of nodes) {
    const said = text(node);
    const same = texts.get(said);
    if (same) same.push(node);
    else texts.set(said, [node]);
  }
  const lines = [...texts].slice(0, NAMED).map(([said, by]) => `${names(by)}: ${said}`);
  const more = texts.size - lines.length;
  return [...lines, ...(more > 0 ? [`and ${more} more`] : [])].join('\n').slice(0, LONGEST_MESSAGE);
};

export interface Here {
  accepted: Standing;
  resolved: Standing;
  nacked: Standing;
  queued: boolean;
  present: readonly NodeView[];
  away: readonly NodeView[];
  isCurrent: (node: NodeView) => boolean;
  isProgrammed: (node: NodeView) => boolean;
}

export function readyOf(here: Here): Standing {
  const { accepted, resolved, nacked, queued, present, away, isCurrent, isProgrammed } = here;
  const besides = away.length > 0 ? `; ${away.length} away: ${names(away)}` : '';
  const not = (reason: string, message: string): Standing => ({ status: 'False', reason, message });
  if (accepted.status === 'False') return not(accepted.reason, accepted.message);
  if (nacked.status === 'True') return not(nacked.reason, nacked.message);
  if (resolved.status === 'False') return not(resolved.reason, resolved.message);
  if (present.length === 0 && away.length === 0)
    return { status: 'Unknown', reason: 'Waiting', message: 'no vehicle has reported yet' };
  const silent = queued ? present.filter(({ queue }) => !queue) : [];
  if (silent.length > 0) return not('QueueAway', `the queue does not answer on ${names(silent)}${besides}`);
  const behind = present.filter((node) => !isCurrent(node) || !isProgrammed(node));
  const counted = `on ${present.length - behind.length} of ${several(present.length, 'vehicle')}`;
  if (behind.length > 0) return not('Waiting', `${counted}; waiting for ${names(behind)}${besides}`);
  return { status: 'True', reason: 'Ready', message: `${counted}${besides}` };
}
