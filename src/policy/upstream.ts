// What an upstream's URL says besides its host.

import type { Destination } from './policy.ts';

/** The path that goes before the app's; empty where the URL has none. */
export const upstreamPath = ({ upstream }: Destination): string =>
  new URL(upstream.url).pathname.replace(/\/+$/, '');

/** Of a URL that need not name it. */
export const urlPort = ({ port, protocol }: URL): number =>
  port ? Number(port) : protocol === 'https:' ? 443 : 80;

/** What its clusters and the egress listener know it by. */
export const upstreamName = ({ name, upstream }: Destination): string => upstream.name ?? name;
