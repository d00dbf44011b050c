// The bootstrap of a sidecar, from envoy/bootstrap.yaml.

import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { lookup } from '../control-plane/resources/clusters.ts';
import { envoyAddress } from '../control-plane/resources/envoy-address.ts';
import { type OwnCertificates, ownSecrets, SPIRE_CLUSTER } from '../control-plane/resources/secret-source.ts';
import { connectingTls } from '../control-plane/resources/tls.ts';
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
  /** `name=value`, for rules of the policy. */
  labels?: readonly string[];
  xds: Address;
  /** How it reaches a control plane on another machine: with which certificate, and whom to expect there (a SPIFFE id). */
  tls?: { certificates: OwnCertificates; controlPlane: string };
  /** For everything else; default: what the control plane sends. */
  certificates?: OwnCertificates;
  /** Where SPIRE's agent is, for certificates that are its own. */
  spire?: Address;
  /** Of Envoy itself; default: none. Whoever reaches it may end the sidecar, any web page of the machine included where it is not a Unix
   *  socket: Envoy asks for neither Host nor Origin. */
  admin?: Address;
  outbound?: Address;
  /** Where TLS connections of apps are led to. */
  outboundTls?: Address;
  egress?: Address;
  /** On the edge node: where sidecars of other machines reach the queue, over TLS. */
  inbound?: Address;
  /** On another machine: where that is, and whom to expect there (a SPIFFE id). */
  queue?: { address: Address; id: string };
  /** Where it answers `GET /ready` with 200 once it has its configuration, listeners and routes, and not before. */
  ready?: Address;
  /** Where its workers answer `GET /healthz` with 200, whatever configuration it has. */
  health?: Address;
  /** Of the mesh, where it is not the default. */
  trustDomain?: string;
  trustedCa: string;
}

interface Cluster {
  name: string;
  type: string;
  load_assignment: {
    cluster_name: string;
    endpoints: { lb_endpoints: { endpoint: { address: unknown } }[] }[];
  };
  transport_socket?: object;
}

interface Patient {
  initial_fetch_timeout?: string;
}

interface Template {
  node: { id: string; metadata: { layby: object } };
  admin?: { address: unknown };
  dynamic_resources: Record<'cds_config' | 'lds_config', Patient>;
  layered_runtime: { layers: { rtds_layer: { rtds_config: Patient } }[] };
  static_resources: {
    listeners?: object[];
    clusters: Cluster[];
  };
}

export function bootstrap(options: BootstrapOptions): object {
  const template = parse(readFileSync(TEMPLATE, 'utf8')) as Template;
  template.node.id = options.node;
  template.node.metadata.layby = {
    ...(options.outbound ? { outbound: formatAddress(options.outbound) } : {}),
    ...(options.outboundTls ? { outboundTls: formatAddress(options.outboundTls) } : {}),
    ...(options.egress ? { egress: formatAddress(options.egress) } : {}),
    ...(options.inbound ? { inbound: formatAddress(options.inbound) } : {}),
    ...(options.queue ? { queue: formatAddress(options.queue.address), queueId: options.queue.id } : {}),
    ...(options.labels?.length ? { labels: labelsOf(options.labels) } : {}),
    ...(options.trustDomain ? { trustDomain: options.trustDomain } : {}),
    ...(options.certificates && { certificates: nameOf(options.certificates) }),
    trustedCa: options.trustedCa,
  };
  if (options.admin) template.admin = { address: envoyAddress(options.admin) };
  else delete template.admin;
  const controlPlane = template.static_resources.clusters[0]!;
  controlPlane.load_assignment.endpoints[0]!.lb_endpoints[0]!.endpoint.address = envoyAddress(options.xds);
  Object.assign(controlPlane, lookup(options.xds));
  if (options.spire) template.static_resources.clusters.push(agentOf(controlPlane, options.spire));
  if (options.tls) {
    const { certificates, controlPlane: expected } = options.tls;
    controlPlane.transport_socket = connectingTls(ownSecrets(certificates), expected);
  }
  if (options.ready) {
    const { cds_config, lds_config } = template.dynamic_resources;
    const holds = template.layered_runtime.layers.map(({ rtds_layer }) => rtds_layer.rtds_config);
    // Envoy would give up after 15 s, and begin to serve with what it has: nothing, or no holds.
    for (const config of [cds_config, lds_config, ...holds]) config.initial_fetch_timeout = '0s';
  }
  const listeners = [
    ...(options.ready ? [answering('layby-ready', options.ready, '/ready')] : []),
    ...(options.health ? [answering('layby-health', options.health, '/healthz')] : []),
  ];
  if (listeners.length > 0) template.static_resources.listeners = listeners;
  return template;
}

const nameOf = (certificates: OwnCertificates): string =>
  certificates === 'spire' ? certificates : certificates.dir;

/** Like the control plane's, without TLS: it is on this machine. */
const agentOf = (controlPlane: Cluster, address: Address): Cluster => ({
  ...controlPlane,
  name: SPIRE_CLUSTER,
  load_assignment: {
    cluster_name: SPIRE_CLUSTER,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: envoyAddress(address) } }] }],
  },
});

/** Workers accept nothing before the first configuration is there, whole, or was waited for in vain: an answer says that they work. */
const answering = (name: string, address: Address, path: string): object => ({
  name,
  address: envoyAddress(address),
  ignore_global_conn_limit: true,
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: name,
            route_config: {
              virtual_hosts: [
                {
                  name,
                  domains: ['*'],
                  routes: [{ match: { path }, direct_response: { status: 200 } }],
                },
              ],
            },
            http_filters: [
              {
                name: 'envoy.filters.http.router',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
                },
              },
            ],
          },
        },
      ],
    },
  ],
});

const labelsOf = (labels: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    labels.map((label) => {
      const at = label.indexOf('=');
      return [label.slice(0, at), label.slice(at + 1)];
    }),
  );

/** A PEM file with the authorities for https upstreams: $SSL_CERT_FILE, the system's, or else Node's, written to `dir`. */
export async function trustedCa(dir: string): Promise<string> {
  const found = [process.env.SSL_CERT_FILE, ...CA_BUNDLES].find((path) => path && existsSync(path));
  if (found) return found;
  const path = join(dir, 'ca.pem');
  await writeFile(path, rootCertificates.join('\n'));
  return path;
}
