import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { loadXds, type TypedJson } from '../../../src/control-plane/xds/registry.ts';
import { laybyService } from '../../../src/control-plane/xds/services.ts';
import { findEnvoy } from '../../../src/parts/envoy.ts';
import type { LaybyError } from '../../../src/telemetry/error.ts';
import { testdir } from '../../rig/testdir.ts';

const xds = await loadXds();

const TYPE = 'type.googleapis.com/';
const LISTENER = 'envoy.config.listener.v3.Listener';
const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

const listenerWith = (routeConfig: object) => ({
  name: 'outbound',
  address: { socketAddress: { address: '127.0.0.1', portValue: 15001 } },
  listenerFiltersTimeout: '5s',
  filterChains: [
    {
      filters: [
        {
          name: 'http',
          typedConfig: {
            '@type': `${TYPE}${HCM}`,
            statPrefix: 'outbound',
            routeConfig,
            httpFilters: [{ name: 'router', typedConfig: { '@type': `${TYPE}${ROUTER}` } }],
          },
        },
      ],
    },
  ],
});

const virtualHost = { name: 'dashcam', domains: ['dashcam.example'] };
const route = { match: { prefix: '/' }, route: { cluster: 'direct', timeout: '0s' } };
const listener = listenerWith({ name: 'r', virtualHosts: [{ ...virtualHost, routes: [route] }] });

// snake_case, as most of Envoy's documentation writes it.
const cluster = {
  name: 'direct',
  connect_timeout: '0.250s',
  common_lb_config: { healthy_panic_threshold: {} },
  upstream_bind_config: {
    source_address: { address: '0.0.0.0', port_value: 0 },
    socket_options: [{ level: 6, name: 18, int_value: '3000', state: 'STATE_PREBIND' }],
  },
  load_assignment: {
    cluster_name: 'direct',
    endpoints: [
      {
        lb_endpoints: [
          { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 9 } } } },
        ],
      },
    ],
  },
};

t.test('a listener in camelCase comes back as it went', (t) => {
  t.same(xds.decode(LISTENER, xds.encode(LISTENER, listener)), listener);
  t.end();
});

t.test(
  'a cluster in snake_case comes back with the same meaning, and gives the same bytes every time',
  (t) => {
    const bytes = xds.encode(CLUSTER, cluster);
    t.same(bytes, xds.encode(CLUSTER, structuredClone(cluster)));
    const back = xds.decode(CLUSTER, bytes) as Record<string, unknown>;
    t.match(back, { name: 'direct', connectTimeout: '0.250s', loadAssignment: { clusterName: 'direct' } });
    t.same(xds.encode(CLUSTER, back), bytes);
    t.end();
  },
);

t.test('an Any on the wire carries the type and the same bytes, and is read back', (t) => {
  const typed: TypedJson = { '@type': `${TYPE}${LISTENER}`, ...listener };
  const any = xds.any(typed);
  t.same(any, { type_url: `${TYPE}${LISTENER}`, value: xds.encode(LISTENER, listener) });
  t.same(xds.decodeAny(any), typed);
  t.end();
});

t.test('the real Envoy accepts the same resources', async (t) => {
  const bootstrap = {
    admin: { address: { socketAddress: { address: '127.0.0.1', portValue: 0 } } },
    staticResources: {
      listeners: [xds.decode(LISTENER, xds.encode(LISTENER, listener))],
      clusters: [cluster],
    },
  };
  const file = join(testdir(t, {}), 'envoy.json');
  writeFileSync(file, JSON.stringify(bootstrap));
  const run = await promisify(execFile)(await findEnvoy(), ['--mode', 'validate', '-c', file]);
  t.match(run.stdout + run.stderr, /configuration .* OK/);
});

t.test('what the protos do not have is refused with the resource and the path', (t) => {
  const refusal = (json: object): string => {
    try {
      xds.encode(LISTENER, { ...json });
      return 'taken';
    } catch (error) {
      t.equal((error as LaybyError).code, 'LAYBY_XDS_INVALID');
      return (error as LaybyError).message;
    }
  };
  const at = 'filterChains[0].filters[0].typedConfig.routeConfig';
  for (const [json, message] of [
    [{ name: 'x', foo: 1 }, 'Listener "x": key "foo" is unknown'],
    [
      listenerWith({ virtualHosts: [virtualHost, { ...virtualHost, domain: ['*'] }] }),
      `Listener "outbound": ${at}.virtualHosts[1]: key "domain" is unknown`,
    ],
    [
      listenerWith({
        virtualHosts: [{ ...virtualHost, typedPerFilterConfig: { cors: { '@type': 'x/no.Such' } } }],
      }),
      `Listener "outbound": ${at}.virtualHosts[0].typedPerFilterConfig["cors"]: x/no.Such is not in the type registry`,
    ],
    [
      { listener_filters_timeout: '5' },
      'Listener: listener_filters_timeout: "5" is no google.protobuf.Duration',
    ],
    [
      { trafficDirection: 'INWARD' },
      'Listener: trafficDirection: "INWARD" is no envoy.config.core.v3.TrafficDirection',
    ],
    [
      { address: { socket_address: { port_value: 'http' } } },
      'Listener: address.socket_address.port_value: expected number (uint32), got "http"',
    ],
    [
      { address: { socketAddress: {}, pipe: {} }, accessLog: null },
      'Listener: address: oneof set multiple times by socket_address and pipe',
    ],
    [{ metadata: undefined }, 'Listener: metadata: undefined is no envoy.config.core.v3.Metadata'],
  ] as const) {
    t.equal(refusal(json), message);
  }
  t.throws(() => xds.encode('envoy.No', {}), { code: 'LAYBY_XDS_INVALID', message: /no message envoy\.No/ });
  t.throws(() => xds.decode(LISTENER, Buffer.from([0xff])), { code: 'LAYBY_XDS_INVALID' });
  t.end();
});

t.test('a DiscoveryResponse goes through grpc-js with its resources unchanged', async (t) => {
  const any = xds.any({ '@type': `${TYPE}${CLUSTER}`, ...cluster });
  const server = new grpc.Server();
  type Request = { type_url: string; node: { id: string } };
  const stream = (call: grpc.ServerDuplexStream<Request, object>) => {
    call.on('data', ({ type_url, node }) =>
      call.write({ version_info: node.id, type_url, resources: [any] }),
    );
    call.on('end', () => call.end());
  };
  server.addService(xds.services.ads, { StreamAggregatedResources: stream });
  const credentials = grpc.ServerCredentials.createInsecure();
  const port = await promisify<string, grpc.ServerCredentials, number>(server.bindAsync.bind(server))(
    '127.0.0.1:0',
    credentials,
  );
  const Client = grpc.makeGenericClientConstructor(xds.services.ads, 'ADS');
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const call = client.StreamAggregatedResources!() as unknown as grpc.ClientDuplexStream<object, object>;
  call.end({ type_url: any.type_url, node: { id: 'truck-7' } });
  const answers = await call.toArray();
  t.match(answers, [{ version_info: 'truck-7', type_url: any.type_url, resources: [any] }]);
  client.close();
  server.forceShutdown();
});

t.test('both services are there with their streams', (t) => {
  t.match(xds.services.ads, {
    StreamAggregatedResources: { requestStream: true },
    DeltaAggregatedResources: {},
  });
  t.match(xds.services.csds, { FetchClientStatus: { requestStream: false }, StreamClientStatus: {} });
  t.equal(xds.services.csds, xds.services.csds, 'made once');
  t.end();
});

t.test("a service of Layby's own is read from its .proto files", (t) => {
  const common =
    'syntax = "proto3"; package layby.v1; message Hold { string destination = 1; int64 bytes = 2; }';
  const holds =
    'syntax = "proto3"; package layby.v1; import "layby/v1/common.proto"; service Holds { rpc Watch(Hold) returns (stream Hold); }';
  const root = testdir(t, { layby: { v1: { 'common.proto': common, 'holds.proto': holds } } });
  const { Watch } = laybyService('layby.v1.Holds', root) as { Watch: grpc.MethodDefinition<object, object> };
  t.match(Watch, { path: '/layby.v1.Holds/Watch', requestStream: false, responseStream: true });
  const wire = Watch.requestSerialize({ destination: 'd', bytes: '9007199254740993' });
  t.match(Watch.requestDeserialize(wire), { destination: 'd', bytes: '9007199254740993' });
  t.throws(() => laybyService('layby.v1.Hold', root), { code: 'LAYBY_XDS_INVALID' });
  t.end();
});
