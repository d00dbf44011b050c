// Which destination an authority belongs to. On the way of every request, so the table is built once per policy.

import { canonicalHost } from './host.ts';
import type { Destination, Policy, Service } from './policy.ts';

interface Named {
  hosts: readonly string[];
}

interface HostTable<Owner> {
  exact: Map<string, Owner>;
  /** By the name below which they match: `example` for `*.example`. */
  wildcard: Map<string, Owner>;
}

// The lists of a policy are never changed once made; a table goes when its list goes.
const tables = new WeakMap<readonly Named[], HostTable<Named>>();

const tableOf = <Owner extends Named>(owners: readonly Owner[]): HostTable<Owner> => {
  const known = tables.get(owners);
  if (known) return known as HostTable<Owner>;
  const table: HostTable<Owner> = { exact: new Map(), wildcard: new Map() };
  for (const owner of owners) {
    for (const host of owner.hosts) {
      if (host.startsWith('*.')) table.wildcard.set(host.slice(2), owner);
      else table.exact.set(host, owner);
    }
  }
  tables.set(owners, table);
  return table;
};

// Port and trailing dot apart. Anything else (a user, a space, an empty label) matches nothing, not even a wildcard: the
// bytes would go to a host that no destination names.
const NAME = /^([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::[0-9]*)?$/i;
const IPV6 = /^(\[[0-9a-f:.]+\])(?::[0-9]*)?$/i;

/**
 * The destination that an authority (RFC 3986 section 3.2, as in `Host` or `:authority`) belongs to: whatever its port, case
 * and trailing dot; an exact name before a wildcard, the longest wildcard first. A wildcard matches any depth below its
 * name, not the name itself.
 */
export const destinationFor = (policy: Policy, authority: string): Destination | undefined =>
  ownerOf(policy.destinations, authority);

/** The service of the vehicle that it belongs to, by the same rules. */
export const serviceFor = ({ services }: Policy, authority: string): Service | undefined =>
  services && ownerOf(services, authority);

function ownerOf<Owner extends Named>(owners: readonly Owner[], authority: string): Owner | undefined {
  const { exact, wildcard } = tableOf(owners);
  const asWritten = exact.get(authority);
  if (asWritten) return asWritten;

  const name = NAME.exec(authority)?.[1]?.toLowerCase();
  if (name === undefined) {
    const literal = IPV6.exec(authority)?.[1];
    return literal === undefined ? undefined : exact.get(canonicalHost(literal));
  }
  const found = exact.get(name);
  if (found || wildcard.size === 0) return found;
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    const below = wildcard.get(name.slice(dot + 1));
    if (below) return below;
  }
  return undefined;
}
