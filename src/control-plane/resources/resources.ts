// From (policy, node) to what Envoy gets: one pure function. Holds are apart (holds.ts), since they change fast.

import type { Policy } from '../../policy/policy.ts';
import type { Address } from '../../wire/address.ts';
import { destinationClusters, queueCluster } from './clusters.ts';
import { type Discovery, egressListener, outboundListener } from './listeners.ts';
import type { Resource } from './resource.ts';
import { egressRouteConfiguration, outboundRouteConfiguration } from './routes.ts';

/** What a sidecar says of itself in its bootstrap, as node metadata `layby`. */
export interface Sidecar {
  /** Where apps call. */
  outbound?: Address;
  /** Where the queue sends; only on the sidecar of the edge node. */
  egress?: Address;
  /** PEM file with the certificate authorities it trusts for https upstreams. */
  trustedCa: string;
  /** How it asks for what its listeners name: on the one aggregated stream, or from each service apart (state of the world, or
   *  delta). Not said, but seen: as it asked for the listeners. */
  discovery: Discovery;
}

/** Resources by kind; the keys are in the order in which Envoy wants them. */
export interface Resources {
  clusters: Resource[];
  listeners: Resource[];
  routes: Resource[];
}

/** `queue`: where the sidecar reaches the queue. */
export function resourcesFor(policy: Policy, sidecar: Sidecar, queue: Address): Resources {
  return {
    clusters: [
      queueCluster(queue),
      ...policy.destinations.flatMap((destination) => destinationClusters(destination, sidecar.trustedCa)),
    ],
    listeners: [
      ...(sidecar.outbound ? [outboundListener(sidecar.outbound, sidecar.discovery)] : []),
      ...(sidecar.egress ? [egressListener(sidecar.egress, sidecar.discovery)] : []),
    ],
    routes: [
      ...(sidecar.outbound ? [outboundRouteConfiguration(policy)] : []),
      ...(sidecar.egress ? [egressRouteConfiguration(policy)] : []),
    ],
  };
}
