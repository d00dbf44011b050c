// Holds travel as a runtime layer (RTDS), the smallest resource there is: routes ask for a key, and a hold sets it to 100.
// So a hold changes no route, listener or cluster, and costs some forty bytes for each sidecar. What the operator has stopped goes the same way.

import type { Resource } from './resource.ts';

export const HOLDS_LAYER = 'holds';
export const holdKey = (destination: string): string => `layby.hold.${destination}`;

/** For what no queue takes: set while the operator has stopped the link. */
export const stopKey = (destination: string): string => `layby.stop.${destination}`;

/** Of a match: only while the key is set. */
export const whileSet = (runtime_key: string) => ({
  runtime_fraction: { default_value: { numerator: 0, denominator: 'HUNDRED' }, runtime_key },
});

/** `held`: names of the destinations whose calls must all go through the queue. `stopped`: of those to which nothing may go. */
export function holdsLayer(held: Iterable<string>, stopped: Iterable<string> = []): Resource {
  const keys = [...[...held].map(holdKey), ...[...stopped].map(stopKey)].sort();
  return {
    '@type': 'type.googleapis.com/envoy.service.runtime.v3.Runtime',
    name: HOLDS_LAYER,
    layer: Object.fromEntries(keys.map((key) => [key, 100])),
  };
}
