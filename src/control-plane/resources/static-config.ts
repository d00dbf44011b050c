// The resources of a sidecar as one static configuration: what `envoy --mode validate` can judge without a control plane.

import type { Resources } from './resources.ts';

/** Routes are put where the listener asks for them by name: Envoy looks at no others. */
export function staticConfig({ clusters, listeners, routes }: Resources): object {
  const byName = new Map(routes.map((each) => [each.name, each]));
  const inline = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(inline);
    if (typeof value !== 'object' || value === null) return value;
    const made: Record<string, unknown> = {};
    for (const [name, inner] of Object.entries(value)) {
      const route = name === 'rds' && byName.get((inner as { route_config_name: string }).route_config_name);
      if (route) made.route_config = untyped(route);
      else made[name] = inline(inner);
    }
    return made;
  };
  return {
    node: { id: 'layby', cluster: 'layby' },
    static_resources: {
      clusters: clusters.map(untyped),
      listeners: listeners.map((each) => untyped(inline(each) as object)),
    },
  };
}

const untyped = (resource: object): object => {
  const { '@type': _, ...fields } = resource as { '@type'?: string };
  return fields;
};
