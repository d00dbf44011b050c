// Services of Kubernetes, as upstreams name them. Where the policy is the cluster's, their endpoints are what the API server says; else they
// are names like others, for DNS.

export interface ClusterService {
  namespace: string;
  name: string;
}

const LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const HOST = new RegExp(`^(${LABEL})\\.(${LABEL})\\.svc(?:\\.cluster\\.local)?$`);

/** Of `map.fleet.svc` and `map.fleet.svc.cluster.local`, the Service `map` of the namespace `fleet`. */
export function clusterServiceOf(host: string): ClusterService | undefined {
  const [, name, namespace] = HOST.exec(host.toLowerCase()) ?? [];
  return name && namespace ? { namespace, name } : undefined;
}

/** What an upstream, or a service of the vehicle, wants to know of one. */
export interface Wanted extends ClusterService {
  /** Of the Service; or, of its pods each. */
  port: number;
  of: 'service' | 'pods';
}

/** Addresses from the most to the least wanted; none of the lists is empty. */
export type Priorities = readonly (readonly { host: string; port: number }[])[];
