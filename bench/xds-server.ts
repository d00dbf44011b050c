// Layby's control plane for bench/control-plane.ts, in a process of its own: the discovery services over a policy that is edited and
// destinations that are held. And the same resources as files, for a peer.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { pino } from 'pino';
import { bindGrpc } from '../src/control-plane/server/bind.ts';
import { DiscoveryServer } from '../src/control-plane/server/discovery.ts';
import { sotwBody } from '../src/control-plane/server/response.ts';
import { Snapshots } from '../src/control-plane/snapshots.ts';
import type { TypeName } from '../src/control-plane/types.ts';
import { loadXds } from '../src/control-plane/xds/registry.ts';
import { parsePolicy } from '../src/policy/parse.ts';
import type { Policy } from '../src/policy/policy.ts';
import { answerQuestions } from './worker.ts';

export type ServerQuestion =
  | { ask: 'start'; destinations: number }
  | { ask: 'edit'; edit: number }
  | { ask: 'hold'; held: boolean }
  /** All that is served now, each type as one DiscoveryResponse. */
  | { ask: 'dump'; dir: string }
  | { ask: 'pid' };

/** The first destination has the edit in its upstream. */
const policy = (destinations: number, edit: number): Policy =>
  parsePolicy([
    {
      path: 'bench.yaml',
      text: Array.from({ length: destinations }, (_, at) =>
        JSON.stringify({
          apiVersion: 'layby.dev/v1alpha1',
          kind: 'Destination',
          metadata: { name: `destination-${at}` },
          spec: {
            hosts: [`destination-${at}.example`],
            upstream: { url: `http://127.0.0.1:${at === 0 ? 10_000 + edit : 9_000 + at}/` },
          },
        }),
      ).join('\n---\n'),
    },
  ]);

const TYPES: TypeName[] = ['cluster', 'listener', 'route', 'runtime'];

const xds = await loadXds();
const snapshots = new Snapshots(xds, { host: '127.0.0.1', port: 9 });
const server = new DiscoveryServer(xds, snapshots, pino({ level: 'silent' }));
let destinations = 0;

answerQuestions<ServerQuestion, number>(async (question) => {
  switch (question.ask) {
    case 'start': {
      destinations = question.destinations;
      snapshots.setPolicy(policy(destinations, 0));
      const grpcServer = new grpc.Server();
      server.addTo(grpcServer);
      const address = await bindGrpc(grpcServer, { host: '127.0.0.1', port: 0 });
      if (!('host' in address)) throw new Error('a port was asked for');
      return address.port;
    }
    case 'edit':
      snapshots.setPolicy(policy(destinations, question.edit));
      server.push();
      return 0;
    case 'hold':
      if (snapshots.setHolds(question.held ? ['destination-0'] : [])) server.push('runtime');
      return 0;
    case 'dump': {
      await mkdir(question.dir, { recursive: true });
      const outbound = { host: '127.0.0.1', port: 15_001 };
      const served = snapshots.lease({ outbound, trustedCa: '', discovery: 'aggregated' }, 'dump');
      for (const type of TYPES) {
        const { resources, version } = served.get(type);
        await writeFile(join(question.dir, `${type}.pb`), sotwBody(type, version, resources));
      }
      snapshots.release(served);
      return 0;
    }
    case 'pid':
      return process.pid;
  }
});
