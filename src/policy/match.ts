// Which destination an authority belongs to. On the way of every request, so the table is built once per policy.

import { canonicalHost } from './host.ts';
import type { Destination, Policy } from './policy.ts';

interface HostTable {
  exact: Map<string, Destination>;
  /** By the name below which they match: `example` for `*.example`. */
  wildcard: Map<string, Destination>;
}

// A policy is never changed once made; a table goes when its policy goes.
const tables = new WeakMap<Policy, HostTable>();

const tableOf = (policy: Policy): HostTable => {
  let table = tables.get(policy);
  if (!table) {
    table = { exact: new Map(), wildcard: new Map() };
    for (const destination of policy.destinations) {
      for (const host of destination.hosts) {
        if (host.startsWith('*.')) table.wildcard.set(host.slice(2), destination);
        else table.exact.set(host, destination);
      }
    }
    tables.set(policy, table);
  }
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
export const destinationFor = (policy: Policy, authority: string): Destination | undefined => {
  const { exact, wildcard } = tableOf(policy);
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
};
