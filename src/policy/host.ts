// One spelling for each host, for what the policy claims and for what an app asks: that is what makes the two comparable.

import { isIPv6 } from 'node:net';

/** Lower case; IPv6 in its shortest form (RFC 5952). `host` is a name, `*.name`, an IPv4 address or `[IPv6]`. */
export const canonicalHost = (host: string): string =>
  host.startsWith('[') && isIPv6(host.slice(1, -1)) ? new URL(`http://${host}`).hostname : host.toLowerCase();
