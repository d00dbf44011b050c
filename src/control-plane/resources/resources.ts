// From (policy, node) to what Envoy gets: one pure function. Holds are apart (holds.ts), since they change fast.

import type { App } from '../../policy/in-force.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Address } from '../../wire/address.ts';
import { destinationClusters, queueCluster } from './clusters.ts';
import { egressListener, outboundListener, queueListener } from './listeners.ts';
import { passthroughClusters } from './passthrough.ts';
import type { Resource } from './resource.ts';
import { egressRouteConfiguration, outboundRouteConfiguration } from './routes.ts';
import { secretsOf } from './secret-source.ts';
import { serviceClusters, serviceHosts, serviceListeners, serviceRoutes } from './services.ts';
import type { Sidecar } from './sidecar.ts';
import { connectingTls } from './tls.ts';
import { tlsListeners } from './tunnels.ts';

/** Resources by kind; the keys are in the order in which Envoy wants them. */
export interface Resources {
  clusters: Resource[];
  listeners: Resource[];
  routes: Resource[];
}

const NOBODY: App = { node: '', labels: [] };

const clustersFor = (policy: Policy, sidecar: Sidecar, queue: Address): Resource[] => [
  sidecar.queue
    ? queueCluster(sidecar.queue.address, connectingTls(secretsOf(sidecar), sidecar.queue.id))
    : queueCluster(queue),
  ...policy.destinations.flatMap((destination) => destinationClusters(destination, sidecar)),
  ...serviceClusters(policy, sidecar),
  ...(policy.passthrough === 'allow' ? passthroughClusters : []),
];

const routesFor = (policy: Policy, sidecar: Sidecar): Resource[] => [
  ...(sidecar.outbound
    ? [outboundRouteConfiguration(policy, sidecar.app ?? NOBODY, serviceHosts(policy, sidecar))]
    : []),
  ...(sidecar.egress ? [egressRouteConfiguration(policy)] : []),
  ...serviceRoutes(policy, sidecar),
];

export function listenersFor(policy: Policy, sidecar: Sidecar): Resource[] {
  return [
    ...(sidecar.outbound ? [outboundListener(sidecar.outbound, sidecar.discovery)] : []),
    ...(sidecar.outboundTls ? tlsListeners(sidecar.outboundTls, policy) : []),
    ...(sidecar.egress ? [egressListener(sidecar.egress, sidecar.discovery)] : []),
    ...(sidecar.inbound ? [queueListener(sidecar.inbound, secretsOf(sidecar))] : []),
    ...serviceListeners(policy, sidecar),
  ];
}

/** What is the same for sidecars that differ only in where they listen: nearly all of it. */
export const sharedResources = (
  policy: Policy,
  sidecar: Sidecar,
  queue: Address,
): Omit<Resources, 'listeners'> => ({
  clusters: clustersFor(policy, sidecar, queue),
  routes: routesFor(policy, sidecar),
});

const ANYWHERE: Address = { unix: '' };

/** Sidecars that have this in common share those. */
export const wherever = ({ outboundTls: _, inbound: __, ...sidecar }: Sidecar): Sidecar => ({
  ...sidecar,
  ...(sidecar.outbound && { outbound: ANYWHERE }),
  ...(sidecar.egress && { egress: ANYWHERE }),
});

/** `queue`: where a sidecar of this machine reaches the queue. */
export const resourcesFor = (policy: Policy, sidecar: Sidecar, queue: Address): Resources => ({
  clusters: clustersFor(policy, sidecar, queue),
  listeners: listenersFor(policy, sidecar),
  routes: routesFor(policy, sidecar),
});
