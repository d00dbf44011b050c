// Which headers of a request belong to it end to end, and are stored. The rest is the hop's (RFC 9110 section 7.6.1),
// Envoy's, ours, or a signature that would be too old by the time it is used.

import type { Destination } from '../policy/policy.ts';
import { OWN_HEADER_PATTERN, TOLD_HEADER_PATTERN } from '../wire/names.ts';

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
]);

/** Made anew on the way out: the URL has the host, the entry has the length. */
const REMADE = new Set(['host', 'content-length']);

/** The sidecar takes them off before; the queue does not rely on it. */
const OURS = new RegExp(`${OWN_HEADER_PATTERN}|${TOLD_HEADER_PATTERN}`);

/** S3 refuses a signature after 15 minutes; the egress listener signs anew. */
const SIGNATURE = new Set(['authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token']);

/** The end-to-end headers: names and values in turn, order kept. `raw` as node:http gives it. */
export function endToEndHeaders(raw: readonly string[], destination: Destination): string[] {
  const named = new Set<string>();
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.toLowerCase() === 'connection') {
      for (const token of raw[i + 1]!.split(',')) named.add(token.trim().toLowerCase());
    }
  }
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (HOP_BY_HOP.has(name) || REMADE.has(name) || named.has(name) || OURS.test(name)) continue;
    if (destination.upstream.sign && SIGNATURE.has(name)) continue;
    kept.push(raw[i]!, raw[i + 1]!);
  }
  return kept;
}
