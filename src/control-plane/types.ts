// The xDS types that Layby serves, and their order: whatever refers to another comes after it (make before break).

export const TYPES = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoint: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
  runtime: 'type.googleapis.com/envoy.service.runtime.v3.Runtime',
} as const;

export type TypeName = keyof typeof TYPES;

/** Order matters. Runtime refers to nothing and is referred to by keys with defaults, so it can go first: holds are urgent. */
export const PUSH_ORDER: TypeName[] = ['runtime', 'cluster', 'endpoint', 'listener', 'route', 'secret'];

/** An empty list of names means all of them, for these. */
export const WILDCARD: ReadonlySet<TypeName> = new Set(['cluster', 'listener']);

const byUrl = new Map(Object.entries(TYPES).map(([name, url]) => [url as string, name as TypeName]));
export const typeOf = (url: string): TypeName | undefined => byUrl.get(url);
