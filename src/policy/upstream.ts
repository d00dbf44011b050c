// What an upstream's URL says besides its host.

import type { Destination } from './policy.ts';

/** The path that goes before the app's; empty where the URL has none. */
export const upstreamPath = ({ upstream }: Destination): string =>
  new URL(upstream.url).pathname.replace(/\/+$/, '');

/** What its clusters and the egress listener know it by. */
export const upstreamName = ({ name, upstream }: Destination): string => upstream.name ?? name;
