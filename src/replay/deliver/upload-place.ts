// Where a destination says that an upload is (tus 1.0, and the IETF's draft), and whether bytes may go there. Pure.

import type { Destination } from '../../policy/policy.ts';
import { upstreamPath } from '../../policy/upstream.ts';

/** As an app would call it: on the upstream's own host and below its path, or undefined (law 4). `called`: the URL that the app called. */
export function uploadPath(
  destination: Destination,
  called: string,
  location: string | undefined,
): string | undefined {
  if (location === undefined) return undefined;
  const path = called.slice(called.indexOf('/', called.indexOf('//') + 2));
  const upstream = new URL(destination.upstream.url);
  const before = upstreamPath(destination);
  // Not relative to the origin: `//` is a path of the app's, and no other host.
  const base = new URL(`${upstream.origin}${before}${path}`);
  if (!URL.canParse(location, base.href)) return undefined;
  const url = new URL(location, base);
  // Behind a proxy that ends TLS the server may not know that it is https.
  if (url.host !== upstream.host || !url.pathname.startsWith(`${before}/`)) return undefined;
  return url.pathname.slice(before.length) + url.search;
}
