// Calls between the apps of a vehicle: from the caller's sidecar to the one beside the service, over TLS on both sides. There the
// caller's certificate says who it is, and whether it may. Nothing of it is stored.

import { DEFAULT_TRUST_DOMAIN, sidecarId } from '../../identity/spiffe.ts';
import { listeningAddress } from '../../policy/listening.ts';
import type { Policy, Service } from '../../policy/policy.ts';
import { IDEMPOTENT } from '../../wire/names.ts';
import * as bounds from './bounds.ts';
import { ejecting, httpOptions, located, patienceOf } from './clusters.ts';
import { discovered, ofService } from './endpoints.ts';
import { envoyAddress } from './envoy-address.ts';
import { connectionManager, UPGRADES } from './listeners.ts';
import { anyPath, oneOf, WEBSOCKET } from './matches.ts';
import { rbacFilter, rbacRule } from './rbac.ts';
import type { Resource } from './resource.ts';
import { secretsOf } from './secret-source.ts';
import type { Sidecar } from './sidecar.ts';
import { acceptingTls, connectingTls } from './tls.ts';
import { ENDS_HERE, tunnelRoutes } from './tunnels.ts';

const ROUTES = 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration';

/** The service for others, and the app behind it; destinations have no `/service` or `/app`. */
const serviceCluster = ({ name }: Service): string => `${name}/service`;
const appCluster = ({ name }: Service): string => `${name}/app`;
const listenerName = ({ name }: Service): string => `service/${name}`;

const trustDomainOf = ({ trustDomain = DEFAULT_TRUST_DOMAIN }: Sidecar): string => trustDomain;

const isBeside = (service: Service, { app }: Sidecar): boolean => service.node === app?.node;

const cluster = (name: string, { protocol }: Service, place: object, more: object = {}): Resource => ({
  '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  name,
  ...place,
  connect_timeout: bounds.seconds(bounds.DIRECT_PATIENCE.connectMs),
  per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
  circuit_breakers: bounds.CIRCUIT,
  typed_extension_protocol_options: httpOptions(protocol),
  ...more,
});

/** The sidecar beside the app; where there are several, one that is lost is soon known to be. */
function callersCluster(service: Service, sidecar: Sidecar): Resource {
  const name = serviceCluster(service);
  const wanted = ofService(service);
  return cluster(
    name,
    service,
    wanted ? discovered(wanted, sidecar.discovery) : located(name, service.address),
    {
      transport_socket: connectingTls(secretsOf(sidecar), sidecarId(trustDomainOf(sidecar), service.node)),
      ...patienceOf(bounds.DIRECT_PATIENCE, { linger: true }),
      ...(wanted && ejecting),
    },
  );
}

/** Of all services that this sidecar calls, or stands beside. */
export const serviceClusters = ({ services = [] }: Policy, sidecar: Sidecar): Resource[] =>
  services.map((service) =>
    isBeside(service, sidecar)
      ? cluster(appCluster(service), service, located(appCluster(service), service.app))
      : callersCluster(service, sidecar),
  );

const portOf = ({ app }: Service): number => ('port' in app ? app.port : 0);

/** The next try is another pod's. */
const elsewhere = {
  retry_back_off: bounds.RETRY_PAUSE,
  retry_host_predicate: [
    {
      name: 'envoy.retry_host_predicates.previous_hosts',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
      },
    },
  ],
  host_selection_retry_max_attempts: '3',
};

const NOT_ARRIVED = 'connect-failure,refused-stream';

/** Requests and conversations alike, whatever they last. A request is sent again where nothing of it has arrived; and where it may be repeated,
 *  also where the connection ended before an answer: an app closes those on which nothing comes. `retries`: more of that. */
const callsTo = (cluster: string, retries: object = {}): object[] => {
  const again = (retry_on: string) => ({ retry_policy: { retry_on, num_retries: 2, ...retries } });
  return [
    { headers: WEBSOCKET, also: { upgrade_configs: [{ upgrade_type: 'websocket' }] } },
    { headers: [oneOf(IDEMPOTENT)], also: again(`${NOT_ARRIVED},reset`) },
    { headers: undefined, also: again(NOT_ARRIVED) },
  ].map(({ headers, also }) => ({
    match: anyPath(headers && { headers }),
    route: { cluster, timeout: '0s', ...also },
  }));
};

/** What apps call. The app's own sidecar goes straight to it; a tunnel through another goes on as one, and ends beside the app. */
export const serviceHosts = ({ services = [] }: Policy, sidecar: Sidecar): object[] =>
  services.map((service) => {
    const beside = isBeside(service, sidecar);
    const cluster = beside ? appCluster(service) : serviceCluster(service);
    const tunnel = beside ? ENDS_HERE : { upgrade_configs: [{ upgrade_type: 'CONNECT' }] };
    return {
      name: listenerName(service),
      domains: service.hosts,
      routes: [
        ...tunnelRoutes(portOf(service), service.tunnel && { cluster, ...tunnel }),
        ...callsTo(cluster, service.pods && elsewhere),
      ],
    };
  });

/** Where the sidecar beside a service takes calls. */
export const serviceListeners = ({ services = [] }: Policy, sidecar: Sidecar): Resource[] =>
  services
    .filter((service) => isBeside(service, sidecar))
    .map((service) => ({
      '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
      name: listenerName(service),
      address: envoyAddress(listeningAddress(service.address)),
      per_connection_buffer_limit_bytes: bounds.READ_AHEAD,
      filter_chains: [
        {
          transport_socket: acceptingTls(secretsOf(sidecar)),
          filters: [
            connectionManager(listenerName(service), sidecar.discovery, bounds.HEAD, {
              filters: [rbacFilter],
              proxy_100_continue: true,
              // Who called is what the certificate says, whatever the caller wrote there.
              forward_client_cert_details: 'SANITIZE_SET',
              set_current_client_cert_details: { uri: true },
              ...UPGRADES,
            }),
          ],
        },
      ],
    }));

/** The routes of those listeners, with who may call. */
export const serviceRoutes = ({ services = [] }: Policy, sidecar: Sidecar): Resource[] =>
  services
    .filter((service) => isBeside(service, sidecar))
    .map((service) => ({
      '@type': ROUTES,
      name: listenerName(service),
      virtual_hosts: [
        {
          name: service.name,
          domains: ['*'],
          typed_per_filter_config: allowed(service, trustDomainOf(sidecar)),
          routes: [
            ...tunnelRoutes(
              portOf(service),
              service.tunnel && { cluster: appCluster(service), ...ENDS_HERE },
            ),
            ...callsTo(appCluster(service)),
          ],
        },
      ],
    }));

const allowed = ({ allow }: Service, trustDomain: string) =>
  rbacRule(
    'ALLOW',
    [{ any: true }],
    allow.map((who) => ({
      authenticated: {
        principal_name: { exact: who.startsWith('spiffe://') ? who : sidecarId(trustDomain, who) },
      },
    })),
  );
