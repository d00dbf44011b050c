// One spelling for each host, for what the policy claims and for what an app asks: that is what makes the two comparable.

import { isIPv6 } from 'node:net';

/** Lower case; IPv6 in its shortest form (RFC 5952). `host` is a name, `*.name`, an IPv4 address or `[IPv6]`; what is none of these
 *  (`[fe80::1%eth0]` is an address to Node, and not in a URL) is for the check to refuse. */
export const canonicalHost = (host: string): string => {
  const url = `http://${host}`;
  return host.startsWith('[') && isIPv6(host.slice(1, -1)) && URL.canParse(url)
    ? new URL(url).hostname
    : host.toLowerCase();
};
