// Endpoints that are not in a cluster itself, since they come and go with pods: those of Services of Kubernetes. A cluster names an
// assignment, several clusters the same; an assignment has its addresses by priority.

import type { Priorities, Wanted } from '../../policy/cluster-service.ts';
import { upstreamsOf } from '../../policy/in-force.ts';
import type { Destination, Policy, Service, Upstream } from '../../policy/policy.ts';
import { urlPort } from '../../policy/upstream.ts';
import { configSource, type Discovery } from './config-source.ts';
import { envoyAddress } from './envoy-address.ts';
import type { Resource } from './resource.ts';

const nameOf = ({ namespace, name, port, of }: Wanted): string =>
  of === 'pods' ? `${namespace}/${name}/pods:${port}` : `${namespace}/${name}:${port}`;

/** Undefined: DNS knows. */
export const ofUpstream = ({ url, service }: Pick<Upstream, 'url' | 'service'>): Wanted | undefined =>
  service && { ...service, port: urlPort(new URL(url)), of: 'service' };

/** Undefined: its address is one. */
export const ofService = ({ pods, address }: Service): Wanted | undefined =>
  pods && 'port' in address ? { ...pods, port: address.port, of: 'pods' } : undefined;

const ofDestination = (destination: Destination): (Wanted | undefined)[] =>
  upstreamsOf(destination).flatMap((upstream) => [
    ofUpstream(upstream),
    upstream.mirror && ofUpstream(upstream.mirror),
  ]);

/** Of one document of the policy. */
export const wantedOf = (part: Destination | Service): Wanted[] =>
  ('upstream' in part ? ofDestination(part) : [ofService(part)]).filter((each) => each !== undefined);

/** By the name of the assignment. */
export const wantedBy = ({ destinations, services = [] }: Policy): Map<string, Wanted> =>
  new Map([...destinations, ...services].flatMap(wantedOf).map((wanted) => [nameOf(wanted), wanted]));

/** Of a cluster, instead of a load assignment. */
export const discovered = (wanted: Wanted, discovery: Discovery) => ({
  type: 'EDS',
  eds_cluster_config: { eds_config: configSource(discovery), service_name: nameOf(wanted) },
});

export const endpointAssignment = (name: string, priorities: Priorities): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  name,
  cluster_name: name,
  endpoints: priorities.map((addresses, priority) => ({
    priority,
    // gRPC's own clients refuse what has no locality, if an empty one, and leave out what has no weight.
    locality: {},
    load_balancing_weight: addresses.length,
    lb_endpoints: addresses.map((address) => ({ endpoint: { address: envoyAddress(address) } })),
  })),
});
