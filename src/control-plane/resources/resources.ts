// From (policy, node) to what Envoy gets: one pure function. Holds are apart (holds.ts), since they change fast.

import type { App } from '../../policy/in-force.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Address } from '../../wire/address.ts';
import { destinationClusters, queueCluster } from './clusters.ts';
import type { Discovery } from './config-source.ts';
import { egressListener, outboundListener, queueListener } from './listeners.ts';
import { passthroughClusters } from './passthrough.ts';
import type { Resource } from './resource.ts';
import { egressRouteConfiguration, outboundRouteConfiguration } from './routes.ts';
import { type OwnCertificates, secretsOf } from './secret-source.ts';
import { serviceClusters, serviceHosts, serviceListeners, serviceRoutes } from './services.ts';
import { connectingTls } from './tls.ts';
import { tlsListeners } from './tunnels.ts';

/** What a sidecar says of itself in its bootstrap, as node metadata `layby`. */
export interface Sidecar {
  /** Where apps call. */
  outbound?: Address;
  /** Where TLS connections of apps are led to. */
  outboundTls?: Address;
  /** Where the queue sends; only on the sidecar of the edge node. */
  egress?: Address;
  /** Where sidecars of other machines reach the queue, over TLS; only on the sidecar of the edge node. */
  inbound?: Address;
  /** On another machine: where that is, and the SPIFFE id of that sidecar. */
  queue?: { address: Address; id: string };
  /** Who it is, as far as rules of the policy select by it; default: nobody. */
  app?: App;
  /** Where it has its certificates from; default: the control plane. */
  certificates?: OwnCertificates;
  /** Of the SPIFFE ids of the others; default: layby.local. */
  trustDomain?: string;
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
  const interim = policy.destinations.some(({ replay }) => replay.resume === 'ietf');
  return [
    ...(sidecar.outbound ? [outboundListener(sidecar.outbound, sidecar.discovery)] : []),
    ...(sidecar.outboundTls ? tlsListeners(sidecar.outboundTls, policy) : []),
    ...(sidecar.egress ? [egressListener(sidecar.egress, sidecar.discovery, interim)] : []),
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
