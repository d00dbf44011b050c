// The xDS types that Layby serves, the order in which they go out, and what has to wait for what (make before break).

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
export const PUSH_ORDER: readonly TypeName[] = [
  'runtime',
  'cluster',
  'endpoint',
  'listener',
  'route',
  'secret',
];

/** State of the world, and an empty list of names means all of them, for these: a response carries all that is subscribed, and what
 *  it does not carry does not exist. For the others a response carries what has changed, and cannot say that something is gone. */
export const FULL_STATE: ReadonlySet<TypeName> = new Set(['cluster', 'listener']);

/** What is new of the first goes out after what is out of the others has been answered: Envoy acknowledges clusters once they are
 *  warm, and a route to one that is not is an error for the app. Endpoints and secrets never wait: warming needs them. */
export const UPDATES_AFTER: Partial<Record<TypeName, readonly TypeName[]>> = {
  listener: ['cluster'],
  route: ['cluster'],
};

/** What is gone of the first is taken away after the others, which may name it, are in force without it. */
export const REMOVALS_AFTER: Partial<Record<TypeName, readonly TypeName[]>> = {
  cluster: ['listener', 'route'],
  endpoint: ['cluster'],
  route: ['listener'],
  secret: ['cluster', 'listener'],
};

const byUrl = new Map(Object.entries(TYPES).map(([name, url]) => [url as string, name as TypeName]));
export const typeOf = (url: string): TypeName | undefined => byUrl.get(url);
