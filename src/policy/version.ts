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

/** SHA-256, lower-case hex. `version` is not looked at. */
export const policyVersion = ({ destinations, services, passthrough }: Omit<Policy, 'version'>): string => {
  const others = { ...(services && { services }), ...(passthrough && { passthrough }) };
  return createHash('sha256')
    .update(canonical(Object.keys(others).length > 0 ? { destinations, ...others } : destinations))
    .digest('hex');
};

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

/** All in the order of their names, with the version of the whole. */
export const policyOf = ({
  destinations,
  services = [],
  passthrough,
}: {
  destinations: readonly Destination[];
  services?: readonly Service[];
  passthrough?: Policy['passthrough'];
}): Policy => {
  const policy = {
    destinations: destinations.toSorted(byName),
    ...(services.length > 0 && { services: services.toSorted(byName) }),
    ...(passthrough && { passthrough }),
  };
  return { version: policyVersion(policy), ...policy };
};
