// What the status says of entries that a change of policy has cut off from their destination. Pure.

import type { Policy } from '../policy/policy.ts';
import { type Lane, storedIn } from '../wire/edge-service.ts';

/** A destination that the policy does not name, and that has entries stored. */
export interface OrphanedView {
  name: string;
  /** In whatever state; those of them that are dead, staged or quarantined. */
  entries: number;
  dead: number;
  staged: number;
  quarantined: number;
  /** Of the bodies that wait. */
  bytes: number;
  /** ISO 8601; null where none waits. */
  oldest: string | null;
  /** Destinations that serve hosts of these entries now. */
  servedBy: string[];
}

export function orphanedIn(policy: Policy | undefined, lanes: readonly Lane[]): OrphanedView[] {
  if (!policy) return [];
  const named = new Set(policy.destinations.map(({ name }) => name));
  return lanes
    .filter((lane) => !named.has(lane.destination) && storedIn(lane) > 0)
    .map((lane) => ({
      name: lane.destination,
      entries: storedIn(lane),
      dead: lane.dead,
      staged: lane.staged,
      quarantined: lane.quarantined,
      bytes: lane.bytes,
      oldest: lane.oldest ? new Date(lane.oldest).toISOString() : null,
      servedBy: lanes
        .filter(({ destination, former }) => named.has(destination) && former.includes(lane.destination))
        .map(({ destination }) => destination),
    }));
}

/** Why calls of a destination pass the queue whose former lanes are not empty; undefined: for another reason. */
export function whyBehind(name: string, state: string, former: readonly string[]): string | undefined {
  const [first] = former;
  if (state !== 'draining' || first === undefined) return undefined;
  return `entries stored for ${former.join(', ')} go first: layby queue move --from ${first} --to ${name}`;
}
