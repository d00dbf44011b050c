// What a change of policy does to entries that are stored: those of a destination that goes are kept and not sent, and those for a host that
// goes to another destination stay where they are. Pure.

import type { Policy } from './policy.ts';
import { destinationServing } from './serves.ts';

export interface Stranded {
  destination: string;
  /** Stored for it, in whatever state. */
  entries: number;
  /** The destination goes; else hosts of it go. */
  removed: boolean;
  /** Its hosts that other destinations serve afterwards. */
  hosts: string[];
  /** Those destinations. */
  to: string[];
}

/** `wildcard` is `*.name`, and `host` is below that name. */
const isBelow = (host: string, wildcard: string): boolean =>
  wildcard.startsWith('*.') && host !== wildcard && host.endsWith(wildcard.slice(1));

/** Hosts that were the destination's, as it named them or more exactly, and are another's now, whose they were not before. */
export function hostsLost(before: Policy, after: Policy, name: string): { host: string; to: string }[] {
  const hosts = before.destinations.find((one) => one.name === name)?.hosts ?? [];
  const kept = after.destinations.find((one) => one.name === name)?.hosts ?? [];
  // The more exact name counts.
  const takes = (host: string, own: string): boolean =>
    own === host || isBelow(host, own) || (isBelow(own, host) && !kept.includes(own));
  const had = (other: string, host: string): boolean =>
    before.destinations.some((one) => one.name === other && one.hosts.includes(host));
  const lost = new Map<string, string>();
  for (const host of hosts) {
    const owner = destinationServing(after, host)?.name;
    if (owner !== undefined && owner !== name) lost.set(host, owner);
  }
  for (const other of after.destinations)
    for (const host of other.name === name ? [] : other.hosts)
      if (!had(other.name, host))
        for (const own of hosts) if (takes(host, own)) lost.set(isBelow(own, host) ? own : host, other.name);
  return [...lost].map(([host, to]) => ({ host, to }));
}

/** `stored`: entries in whatever state, by destination. */
export function strandedBy(before: Policy, after: Policy, stored: ReadonlyMap<string, number>): Stranded[] {
  return before.destinations.flatMap(({ name }) => {
    const entries = stored.get(name) ?? 0;
    const removed = !after.destinations.some((one) => one.name === name);
    const lost = entries > 0 ? hostsLost(before, after, name) : [];
    if (entries === 0 || (!removed && lost.length === 0)) return [];
    const hosts = lost.map(({ host }) => host);
    return [{ destination: name, entries, removed, hosts, to: [...new Set(lost.map(({ to }) => to))] }];
  });
}

/** One line; short, since kubectl cuts off what is longer than 256 characters. */
export function strandedText({ destination, entries, removed, hosts, to }: Stranded): string {
  const count = `${entries} ${entries === 1 ? 'entry is' : 'entries are'} stored for ${destination}`;
  const move = `\`layby queue move --from ${destination} --to ${to.length === 1 ? to[0] : 'NAME'}\``;
  if (removed)
    return `${count}, which is removed: kept, and not sent until ${move}, or dropped with \`layby queue drop --destination ${destination}\``;
  return `${count}, of which ${hosts.slice(0, 3).join(', ')} ${hosts.length === 1 ? 'goes' : 'go'} to ${to.join(', ')}: what is stored stays with ${destination}, and newer requests wait behind it, until it is sent or ${move}`;
}
