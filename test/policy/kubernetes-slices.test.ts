// Which endpoints of a Service a node wants, and in which order.

import t from 'tap';
import type { Wanted } from '../../src/policy/cluster-service.ts';
import { clusterServiceOf } from '../../src/policy/cluster-service.ts';
import { find, serviceObject, slice } from '../../src/policy/sources/kubernetes/slices.ts';

const service = (spec: object = {}) =>
  serviceObject({
    metadata: { namespace: 'fleet', name: 'map', resourceVersion: '1' },
    spec: {
      ports: [
        { name: 'web', port: 80 },
        { name: 'grpc', port: 81, protocol: 'TCP' },
        { name: 'sync', port: 82, protocol: 'UDP' },
      ],
      ...spec,
    },
  });

let made = 0;
const sliceOf = (endpoints: object[], more: object = {}) => {
  made += 1;
  return slice({
    metadata: {
      namespace: 'fleet',
      name: `map-${made}`,
      resourceVersion: '1',
      labels: { 'kubernetes.io/service-name': 'map' },
    },
    addressType: 'IPv4',
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: 'grpc', port: 9090 },
    ],
    endpoints,
    ...more,
  });
};

const on = (address: string, nodeName: string, conditions: object = {}) => ({
  addresses: [address],
  nodeName,
  conditions,
});

const wanted: Wanted = { namespace: 'fleet', name: 'map', port: 80, of: 'service' };

const asText = ({ priorities, problem }: ReturnType<typeof find>): string =>
  [
    ...priorities.map((list) => list.map(({ host, port }) => `${host}:${port}`).join(',')),
    ...(problem ? [problem] : []),
  ].join(' | ');

const found = (slices: ReturnType<typeof slice>[], which: Partial<Wanted> = {}, own = service()) =>
  asText(find({ services: [own], slices }, { ...wanted, ...which }, 'edge'));

t.test('names of Services are told from others', async (t) => {
  const map = { namespace: 'fleet', name: 'map' };
  t.same(clusterServiceOf('map.fleet.svc'), map);
  t.same(clusterServiceOf('Map.fleet.SVC.cluster.local'), map);
  for (const other of ['map.fleet', 'map.svc', 'a.map.fleet.svc', 'map.fleet.svc.example', '-.fleet.svc'])
    t.equal(clusterServiceOf(other), undefined, other);
});

t.test('the own node first, then others, then what is not ready', async (t) => {
  const slices = [
    sliceOf([on('10.0.0.4', 'cloud'), on('10.0.0.2', 'edge', { ready: true })]),
    sliceOf([
      on('10.0.0.3', 'cloud', { ready: null }),
      on('10.0.0.1', 'edge', { ready: false }),
      on('10.0.0.5', 'cloud', { ready: false, serving: true, terminating: true }),
      on('10.0.0.6', 'cloud', { ready: false, serving: false, terminating: true }),
    ]),
  ];
  t.equal(found(slices), '10.0.0.2:8080 | 10.0.0.3:8080,10.0.0.4:8080 | 10.0.0.1:8080 | 10.0.0.5:8080');
});

t.test('a port of the Service is the one of that name in the pod', async (t) => {
  const slices = [sliceOf([on('10.0.0.1', 'edge')])];
  t.equal(found(slices, { port: 81 }), '10.0.0.1:9090');
  t.equal(found(slices, { port: 15008, of: 'pods' }), '10.0.0.1:15008');
  t.equal(found(slices, { port: 82 }), 'the Service fleet/map has no port 82 over TCP; it has 80, 81');
  const unnamed = service({ ports: [{ port: 80 }] });
  t.equal(
    found([sliceOf([on('10.0.0.1', 'edge')], { ports: [{ port: 7070 }] })], {}, unnamed),
    '10.0.0.1:7070',
  );
});

t.test('one that moves between slices is there once, and IPv6 counts where there is no IPv4', async (t) => {
  const moving = [
    sliceOf([on('10.0.0.1', 'edge', { ready: false })]),
    sliceOf([on('10.0.0.1', 'edge')]),
    sliceOf([on('fd00::1', 'edge')], { addressType: 'IPv6' }),
  ];
  t.equal(found(moving), '10.0.0.1:8080');
  t.equal(found(moving.slice(2)), 'fd00::1:8080');
});

t.test('what is not there is said', async (t) => {
  t.equal(found([]), 'the Service fleet/map has no endpoint that is ready');
  t.equal(found([sliceOf([])], { name: 'other' }), 'there is no Service fleet/other');
  // The controllers write them so where there is no pod.
  t.equal(
    found([sliceOf([], { endpoints: null, ports: null })]),
    'the Service fleet/map has no endpoint that is ready',
  );
  const local = service({ internalTrafficPolicy: 'Local' });
  t.match(found([sliceOf([on('10.0.0.1', 'cloud')])], {}, local), /that is ready on edge, and it wants no/);
});
