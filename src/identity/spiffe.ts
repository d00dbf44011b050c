// SPIFFE ids: who a part of the mesh is, `spiffe://TRUST-DOMAIN/PATH`. What proves it is a certificate with the id as its only URI
// name (an X.509-SVID): authority.ts makes them, and so may anyone else who is trusted.
// https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md

import { LaybyError } from '../telemetry/error.ts';

export const DEFAULT_TRUST_DOMAIN = 'layby.local';

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;

/** Errors: LAYBY_IDENTITY_INVALID. */
export function checkTrustDomain(text: string): string {
  if (TRUST_DOMAIN.test(text)) return text;
  throw new LaybyError('LAYBY_IDENTITY_INVALID', `"${text}" is no trust domain`, {
    remedy: 'write lower-case letters, digits, dots, hyphens and underscores, like fleet.example',
  });
}

/** Of the parts that there is one of. */
export const partId = (trustDomain: string, part: 'control-plane' | 'queue'): string =>
  `spiffe://${trustDomain}/${part}`;

/** Of a sidecar and the app that it stands beside. Errors: LAYBY_IDENTITY_INVALID. */
export function sidecarId(trustDomain: string, node: string): string {
  if (SEGMENT.test(node)) return `spiffe://${trustDomain}/node/${node}`;
  throw new LaybyError('LAYBY_IDENTITY_INVALID', `the node id "${node}" cannot stand in a SPIFFE id`, {
    remedy: 'name sidecars with letters, digits, dots, hyphens and underscores',
  });
}

/** The SPIFFE id of a certificate's names, as Node writes them (`URI:spiffe://…, DNS:…`); undefined where it has none, or two:
 *  an X.509-SVID has exactly one URI name. */
export function idOfNames(subjectAltName: string | undefined): string | undefined {
  const uris = (subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  const [id] = uris.map((uri) => uri.slice('URI:'.length));
  return uris.length === 1 && id?.startsWith('spiffe://') ? id : undefined;
}
