// What the connected sidecars have of one destination or service, for its status in Kubernetes. A refusal is of whom the refused resources
// belong to; of a resource that all share, of those that the words name; else of all.

import type { Wanted } from '../policy/cluster-service.ts';
import type { Destination, Policy, Service } from '../policy/policy.ts';
import type { Standing } from '../policy/sources/kubernetes/report-writer.ts';
import { wantedOf } from './resources/endpoints.ts';
import type { Client } from './server/client.ts';
import type { Refusal } from './server/subscription.ts';

/** Clusters and what belongs to them are called NAME, NAME/WHAT and NAME@WHICH. */
const ownerOf = (resource: string): string => resource.split(/[/@]/, 1)[0] ?? '';

const concerned = ({ names, message }: Refusal, all: ReadonlySet<string>): ReadonlySet<string> => {
  const owners = new Set([...names].map(ownerOf).filter((owner) => all.has(owner)));
  if (owners.size > 0) return owners;
  const said = new Set(message.split(/[^a-z0-9-]+/).filter((word) => all.has(word)));
  return said.size > 0 ? said : all;
};

export type Parts = Pick<Policy, 'destinations' | 'services'>;

export const partsOf = ({ destinations, services = [] }: Parts): (Destination | Service)[] => [
  ...destinations,
  ...services,
];

/** Why Services of the cluster that it names have no endpoints, a line each; undefined: they have. */
export function unresolvedOf(
  part: Destination | Service,
  missing: (wanted: Wanted) => string | undefined,
): string | undefined {
  const lines = new Set(wantedOf(part).flatMap((wanted) => missing(wanted) ?? []));
  return lines.size > 0 ? [...lines].join('\n') : undefined;
}

/** By name. `missing`: why a Service has no endpoints; undefined: it has. */
export const standings = (
  clients: Iterable<Client>,
  policy: Parts,
  missing: (wanted: Wanted) => string | undefined,
): ((name: string) => Standing) => {
  const parts = new Map(partsOf(policy).map((part) => [part.name, part]));
  const all = new Set(parts.keys());
  const each = [...clients].map((client) => ({
    id: client.id,
    answered: client.answered,
    refusals: client.subscriptions.flatMap(({ refusal }) =>
      refusal ? [{ message: refusal.message, of: concerned(refusal, all) }] : [],
    ),
  }));
  return (name) => {
    let programmed = 0;
    let nack: string | undefined;
    for (const { id, answered, refusals } of each) {
      const against = refusals.find(({ of }) => of.has(name));
      if (against) nack ??= `sidecar ${id}: ${against.message}`;
      else if (answered) programmed += 1;
    }
    const part = parts.get(name);
    const unresolved = part && unresolvedOf(part, missing);
    return {
      sidecars: each.length,
      programmed,
      ...(nack !== undefined && { nack }),
      ...(unresolved !== undefined && { unresolved }),
    };
  };
};
