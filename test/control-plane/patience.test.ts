// How long the clusters of a destination wait for a connection, and for a peer that is silent.

import t from 'tap';
import { destinationClusters } from '../../src/control-plane/resources/clusters.ts';
import type { Resource } from '../../src/control-plane/resources/resource.ts';
import { destination } from '../policy/destination.ts';

const SIDE = { trustedCa: '/ca.pem', discovery: 'aggregated' } as const;
const OPTIONS: Record<number, string> = { 18: 'userTimeout', 7: 'syns' };

/** By the last part of the cluster's name. */
const patience = (connectTimeout?: number): Record<string, unknown> =>
  Object.fromEntries(
    destinationClusters(
      destination({
        tunnel: 'allow',
        upstream: {
          url: 'https://192.0.2.1',
          mirror: { url: 'https://192.0.2.2', percent: 100 },
          ...(connectTimeout && { connectTimeout }),
        },
      }),
      SIDE,
    )
      .filter((cluster) => cluster.name !== 'dashcam')
      .map((cluster: Resource & { connect_timeout?: string; upstream_bind_config?: unknown }) => {
        const { socket_options } = cluster.upstream_bind_config as {
          socket_options: { name: number; int_value: number }[];
        };
        return [
          cluster.name.replace('dashcam/', ''),
          {
            connect: cluster.connect_timeout,
            ...Object.fromEntries(
              socket_options.flatMap(({ name, int_value }) =>
                OPTIONS[name] ? [[OPTIONS[name], int_value]] : [],
              ),
            ),
          },
        ];
      }),
  );

const DIRECT = { connect: '10s', userTimeout: 3_000, syns: 1 };
const EGRESS = { connect: '30s', userTimeout: 60_000, syns: 2 };

t.test(
  'TLS has longer than it takes to see that nobody is there, and replay longer than the direct path',
  async (t) => {
    t.same(patience(), { direct: DIRECT, mirror: DIRECT, egress: EGRESS, tunnel: EGRESS });
  },
);

t.test('a short connectTimeout hurries the direct path, and nothing else', async (t) => {
  const short = patience(500);
  t.same(short.direct, { ...DIRECT, connect: '0.5s' });
  t.same(short.egress, EGRESS);
});

t.test('a long connectTimeout is waited for by TCP as well', async (t) => {
  const long = patience(40_000);
  t.same(long.direct, { connect: '40s', userTimeout: 40_000, syns: 5 });
  t.same(long.egress, { connect: '40s', userTimeout: 60_000, syns: 5 });
});

t.test('a connectTimeout that is longer than any socket can wait is an hour', async (t) => {
  t.match(patience(1e15).direct, { connect: '3600s', userTimeout: 3_600_000 });
});
