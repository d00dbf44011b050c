// What an upstream's URL says besides its host.

import type { Destination, Upstream } from './policy.ts';

/** The path that goes before the app's; empty where the URL has none. */
export const upstreamPath = ({ upstream }: Destination): string =>
  new URL(upstream.url).pathname.replace(/\/+$/, '');

/** Of a URL that need not name it. */
export const urlPort = ({ port, protocol }: URL): number =>
  port ? Number(port) : protocol === 'https:' ? 443 : 80;

/** What its clusters and the egress listener know it by. */
export const upstreamName = ({ name, upstream }: Destination): string => upstream.name ?? name;

/** An attempt to connect on the direct path, TLS handshake included, has this long by default (ms). */
export const DIRECT_CONNECT_MS = 10_000;

/** An attempt of replay to connect, TLS handshake included, has this long: over a long round trip, or behind a full buffer of a modem, it
 *  takes seconds (ms). */
export const REPLAY_CONNECT_MS = 30_000;

/** Longer is not waited for a connection, whatever the policy says: it must fit into an option of a socket (ms). */
const LONGEST_CONNECT_MS = 3_600_000;

/** How long a connection to this upstream may take on the direct path, ms. */
export const directConnectMs = ({ connectTimeout = DIRECT_CONNECT_MS }: Upstream): number =>
  Math.min(LONGEST_CONNECT_MS, connectTimeout);

/** The same for replay, ms. */
export const replayConnectMs = (upstream: Upstream): number =>
  Math.max(REPLAY_CONNECT_MS, directConnectMs(upstream));
