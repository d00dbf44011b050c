// TLS between the sidecars of a mesh: both sides prove who they are with the certificate that SDS gives them, renewed without a
// connection lost.

import { IDENTITY_SECRET, ROOTS_SECRET } from '../../wire/names.ts';
import type { SecretSource } from './secret-source.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';

/** `peers`: the SPIFFE ids to expect; none: any of the mesh. */
const common = (source: SecretSource, peers: readonly string[]) => ({
  tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
  tls_certificate_sds_secret_configs: [source(IDENTITY_SECRET)],
  combined_validation_context: {
    default_validation_context: {
      match_typed_subject_alt_names: peers.map((exact) => ({ san_type: 'URI', matcher: { exact } })),
    },
    validation_context_sds_secret_config: source(ROOTS_SECRET),
  },
});

/** A transport socket that lets in who has a certificate of the mesh. */
export const acceptingTls = (source: SecretSource): object => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': `${TYPE}.DownstreamTlsContext`,
    require_client_certificate: true,
    common_tls_context: common(source, []),
  },
});

/** A transport socket that speaks to `peer` and to nobody else. */
export const connectingTls = (source: SecretSource, peer: string): object => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': `${TYPE}.UpstreamTlsContext`,
    common_tls_context: common(source, [peer]),
  },
});
