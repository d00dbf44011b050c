// What a sidecar proves itself with, and whom it trusts, as SDS secrets. Inline: they travel on a stream that is the sidecar's own,
// and are never on its disk.

import type { Credential } from '../../identity/authority.ts';
import { IDENTITY_SECRET, ROOTS_SECRET } from '../../wire/names.ts';
import type { Resource } from './resource.ts';

const SECRET = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

/** `roots`: PEM. */
export const secrets = ({ certificate, key }: Credential, roots: string): Resource[] => [
  {
    '@type': SECRET,
    name: IDENTITY_SECRET,
    tls_certificate: {
      certificate_chain: { inline_string: certificate },
      private_key: { inline_string: key },
    },
  },
  {
    '@type': SECRET,
    name: ROOTS_SECRET,
    validation_context: { trusted_ca: { inline_string: roots } },
  },
];
