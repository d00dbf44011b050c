// Holds travel as a runtime layer (RTDS), the smallest resource there is: routes ask for a key, and a hold sets it to 100.
// So a hold changes no route, listener or cluster, and costs some forty bytes for each sidecar.

import type { Resource } from './resource.ts';

export const HOLDS_LAYER = 'holds';
export const holdKey = (destination: string): string => `layby.hold.${destination}`;

/** `held`: names of the destinations whose calls must all go through the queue. */
export function holdsLayer(held: Iterable<string>): Resource {
  return {
    '@type': 'type.googleapis.com/envoy.service.runtime.v3.Runtime',
    name: HOLDS_LAYER,
    layer: Object.fromEntries([...held].sort().map((name) => [holdKey(name), 100])),
  };
}
