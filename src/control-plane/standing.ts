// What the connected sidecars have of one destination or service, for its status in Kubernetes. A refusal is of whom the refused resources
// belong to; of a resource that all share, of those that the words name; else of all.

import type { Policy } from '../policy/policy.ts';
import type { Client } from './server/client.ts';
import type { Refusal } from './server/subscription.ts';

export interface Standing {
  /** Connected. */
  sidecars: number;
  /** Of them, those that have all of it. */
  programmed: number;
  /** Which sidecar has refused something of it, and its words. */
  nack?: string;
}

/** Clusters and what belongs to them are called NAME, NAME/WHAT and NAME@WHICH. */
const ownerOf = (resource: string): string => resource.split(/[/@]/, 1)[0] ?? '';

const concerned = ({ names, message }: Refusal, all: ReadonlySet<string>): ReadonlySet<string> => {
  const owners = new Set([...names].map(ownerOf).filter((owner) => all.has(owner)));
  if (owners.size > 0) return owners;
  const said = new Set(message.split(/[^a-z0-9-]+/).filter((word) => all.has(word)));
  return said.size > 0 ? said : all;
};

/** By name. */
export const standings = (
  clients: Iterable<Client>,
  { destinations, services = [] }: Pick<Policy, 'destinations' | 'services'>,
): ((name: string) => Standing) => {
  const all = new Set([...destinations, ...services].map(({ name }) => name));
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
    return { sidecars: each.length, programmed, ...(nack !== undefined && { nack }) };
  };
};
