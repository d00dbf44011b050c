// The version of a policy: a hash over what it says, so that the same policy has the same version wherever it was read.

import { createHash } from 'node:crypto';
import type { Destination, Policy, Service } from './policy.ts';

/** JSON with the keys of every object in order and no spaces. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

/** SHA-256, lower-case hex. */
export const policyVersion = (
  destinations: readonly Destination[],
  services: readonly Service[] = [],
): string =>
  createHash('sha256')
    .update(canonical(services.length > 0 ? { destinations, services } : destinations))
    .digest('hex');

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

/** All in the order of their names, with the version of the whole. */
export const policyOf = (destinations: readonly Destination[], services: readonly Service[] = []): Policy => {
  const sorted = destinations.toSorted(byName);
  const others = services.toSorted(byName);
  return {
    version: policyVersion(sorted, others),
    destinations: sorted,
    ...(others.length > 0 && { services: others }),
  };
};
