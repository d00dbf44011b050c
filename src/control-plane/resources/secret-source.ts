// Where a sidecar gets the secrets that it proves itself with and knows others by: from the control plane, on the stream that it has;
// from files beside it; or from the agent of SPIRE on its machine. The last two are its own business, and never pass the control plane.

import { join } from 'node:path';
import { sdsFile } from '../../identity/files.ts';
import { IDENTITY_SECRET, ROOTS_SECRET } from '../../wire/names.ts';
import { configSource, type Discovery } from './config-source.ts';

/** Of a secret, by its name here: envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig. */
export type SecretSource = (secret: string) => object;

/** What a sidecar says of its certificates, where they are not the control plane's. */
export type OwnCertificates =
  /** As `layby identity issue` writes them. */
  { dir: string } | 'spire';

/** The cluster of SPIRE's agent in a sidecar's bootstrap. */
export const SPIRE_CLUSTER = 'spire';

/** What SPIRE's agent calls the certificate of who asks, and the roots of its trust domain. */
const SPIRE_NAMES: Record<string, string> = { [IDENTITY_SECRET]: 'default', [ROOTS_SECRET]: 'ROOTCA' };

const ofFiles =
  (dir: string): SecretSource =>
  (name) => ({
    name,
    sds_config: { path_config_source: { path: join(dir, sdsFile(name)) }, resource_api_version: 'V3' },
  });

const ofSpire: SecretSource = (name) => ({
  name: SPIRE_NAMES[name],
  sds_config: {
    api_config_source: {
      api_type: 'GRPC',
      transport_api_version: 'V3',
      set_node_on_first_message_only: true,
      grpc_services: [{ envoy_grpc: { cluster_name: SPIRE_CLUSTER } }],
    },
    resource_api_version: 'V3',
  },
});

export const ownSecrets = (certificates: OwnCertificates): SecretSource =>
  certificates === 'spire' ? ofSpire : ofFiles(certificates.dir);

export const secretsOf = (sidecar: { certificates?: OwnCertificates; discovery: Discovery }): SecretSource =>
  sidecar.certificates
    ? ownSecrets(sidecar.certificates)
    : (name) => ({ name, sds_config: configSource(sidecar.discovery) });
