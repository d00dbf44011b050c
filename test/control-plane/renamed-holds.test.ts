// Which holds the sidecars have while a policy renames a destination: what is held with entries stored is never direct in between.

import t from 'tap';
import { Edge } from '../../src/control-plane/edge.ts';
import type { DiscoveryServer } from '../../src/control-plane/server/discovery.ts';
import type { Snapshots } from '../../src/control-plane/snapshots.ts';
import { logger } from '../../src/telemetry/log.ts';
import type { Lane } from '../../src/wire/edge-service.ts';
import { destinationOf } from '../queue/scene.ts';

const log = logger('test');
log.level = 'silent';

const policy = (version: string, ...names: [name: string, host: string][]) => ({
  version,
  destinations: names.map(([name, host]) => ({ ...destinationOf(name, { order: 'key' }), hosts: [host] })),
});
const lane = (destination: string, more: Partial<Lane> = {}): Lane => ({
  ...{ destination, entries: 0, bytes: 0, dead: 0, staged: 0, quarantined: 0, oldest: 0, former: [] },
  ...{ pending: false, failing: false, generation: 1, reached: 0 },
  ...more,
});

const make = () => {
  let held: string[] = [];
  const snapshots = {
    setPolicy: () => {},
    setHolds: (names: Iterable<string>) => {
      held = [...names].sort();
      return true;
    },
  };
  const ads = { push: () => {}, settled: async () => true };
  const edge = new Edge(snapshots as unknown as Snapshots, ads as unknown as DiscoveryServer, log);
  return { edge, held: () => held };
};

const before = policy('1', ['dashcam', 'cam.example'], ['api', 'api.example']);
const after = policy('2', ['camera', 'cam.example'], ['api', 'api.example']);

t.test('the new name is held until the queue has the policy, and the old one stays held', async (t) => {
  const { edge, held } = make();
  edge.setPolicy(before);
  const { report } = edge.attach(() => {});
  const waiting = lane('dashcam', { entries: 1, pending: true });
  report({ pid: 1, policy_version: '1', lanes: [waiting, lane('api')] });
  t.same(held(), ['dashcam']);
  edge.setPolicy(after);
  t.same(held(), ['camera', 'dashcam']);
  const behind = lane('camera', { pending: true, former: ['dashcam'] });
  report({ pid: 1, policy_version: '2', lanes: [behind] });
  report({ pid: 1, policy_version: '2', lanes: [] });
  t.same(held(), ['camera', 'dashcam']);
  report({ pid: 1, policy_version: '2', lanes: [lane('camera'), lane('dashcam')] });
  t.same(held(), ['dashcam'], 'a key that no route asks for');
  edge.setPolicy(policy('3', ['api', 'api.example']));
  t.same(held(), []);
});

t.test('nothing is held where the old name had no entries', async (t) => {
  const { edge, held } = make();
  edge.setPolicy(before);
  const { report } = edge.attach(() => {});
  report({ pid: 1, policy_version: '1', lanes: [lane('dashcam'), lane('api')] });
  edge.setPolicy(after);
  t.same(held(), []);
});

t.test('a queue that has not reported may have entries of the old name', async (t) => {
  const { edge, held } = make();
  edge.setPolicy(before);
  edge.setPolicy(after);
  t.same(held(), ['api', 'camera', 'dashcam'], 'of nothing it is known that it is empty');
  const { report } = edge.attach(() => {});
  report({ pid: 1, policy_version: '1', lanes: [lane('dashcam')] });
  t.same(held(), ['camera', 'dashcam'], 'it speaks of the policy before');
  report({ pid: 1, policy_version: '2', lanes: [] });
  t.same(held(), ['dashcam'], 'a key that no route asks for');
});
