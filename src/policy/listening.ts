// Where the sidecar beside a service takes calls.

import { isIP } from 'node:net';
import { type Address, formatAddress, parseAddress } from '../wire/address.ts';

/** What callers know it by may be a name, which a sidecar cannot listen at: then it is all (IPv4) addresses that it has. */
export const listeningAddress = (address: Address): Address =>
  'port' in address && isIP(address.host) === 0 ? { host: '0.0.0.0', port: address.port } : address;

/** What no two services may claim, in words. */
export const listeningClaim = ({ node, address }: { node: string; address: Address }): string =>
  `the address ${formatAddress(listeningAddress(address))} of the sidecar ${node}`;

/** The same of a document that may be wrong; undefined: it says none. */
export function writtenClaim(spec: { node?: unknown; address?: unknown }): string | undefined {
  const { node, address } = spec;
  if (typeof node !== 'string' || typeof address !== 'string') return undefined;
  try {
    return listeningClaim({ node, address: parseAddress(address) });
  } catch {
    return undefined;
  }
}
