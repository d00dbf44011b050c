// The bootstrap of a sidecar, from envoy/bootstrap.yaml.

import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { envoyAddress } from '../control-plane/resources/envoy-address.ts';
import { type Address, formatAddress } from '../wire/address.ts';

const TEMPLATE = fileURLToPath(new URL('../../envoy/bootstrap.yaml', import.meta.url));

/** Where Linux distributions keep the certificate authorities that they trust. */
const CA_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/cert.pem',
];

export interface BootstrapOptions {
  node: string;
  xds: Address;
  admin: Address;
  outbound?: Address;
  egress?: Address;
  trustedCa: string;
}

interface Template {
  node: { id: string; metadata: { layby: object } };
  admin: { address: unknown };
  static_resources: {
    clusters: { load_assignment: { endpoints: { lb_endpoints: { endpoint: { address: unknown } }[] }[] } }[];
  };
}

export function bootstrap(options: BootstrapOptions): object {
  const template = parse(readFileSync(TEMPLATE, 'utf8')) as Template;
  template.node.id = options.node;
  template.node.metadata.layby = {
    ...(options.outbound ? { outbound: formatAddress(options.outbound) } : {}),
    ...(options.egress ? { egress: formatAddress(options.egress) } : {}),
    trustedCa: options.trustedCa,
  };
  template.admin.address = envoyAddress(options.admin);
  template.static_resources.clusters[0]!.load_assignment.endpoints[0]!.lb_endpoints[0]!.endpoint.address =
    envoyAddress(options.xds);
  return template;
}

/** A PEM file with the authorities for https upstreams: $SSL_CERT_FILE, the system's, or else Node's, written to `dir`. */
export async function trustedCa(dir: string): Promise<string> {
  const found = [process.env.SSL_CERT_FILE, ...CA_BUNDLES].find((path) => path && existsSync(path));
  if (found) return found;
  const path = join(dir, 'ca.pem');
  await writeFile(path, rootCertificates.join('\n'));
  return path;
}
