// Which destination serves the host of a stored URL now. Stored URLs are `http://authority/path`, those for S3 in path style.

import { bucketHosts } from './bucket.ts';
import { canonicalHost } from './host.ts';
import { destinationFor } from './match.ts';
import type { Destination, Policy } from './policy.ts';

/** `host:port` of `http://host:port/path`. */
export const authorityOf = (url: string): string => /^https?:\/\/([^/?#]*)/.exec(url)?.[1] ?? '';

/** The host of an authority: without port and final dot, in its canonical spelling. */
export const hostIn = (authority: string): string =>
  canonicalHost(authority.replace(/:\d*$/, '').replace(/\.$/, ''));

/** Whether calls to this host belong to the destination. Also true of a host below which each name is a bucket of the destination:
 *  stored S3 URLs have it. */
export const servesHost = (policy: Policy, destination: Destination, host: string): boolean =>
  destinationFor(policy, host)?.name === destination.name || bucketHosts(destination).includes(host);

/** The destination that serves this host; undefined: none does. */
export const destinationServing = (policy: Policy, host: string): Destination | undefined =>
  destinationFor(policy, host) ?? policy.destinations.find((each) => bucketHosts(each).includes(host));
