// What the control plane holds before a queue has reported, and what one queue's attachment means for the next.

import { pino } from 'pino';
import t from 'tap';
import { Edge } from '../../src/control-plane/edge.ts';
import type { Lane, QueueReport } from '../../src/wire/edge-service.ts';
import { destination } from '../policy/destination.ts';

const api = destination({ name: 'api' });
const loose = destination({ name: 'loose', store: { order: 'none' } });
const policy = (...destinations: (typeof api)[]) => ({ version: 'v', destinations });

const scene = () => {
  const held: string[][] = [];
  const sidecars = { settled: async () => true };
  const edge = new Edge(
    {
      setPolicy: () => {},
      setHolds: (names) => {
        held.push([...names]);
        return true;
      },
    },
    { push: () => {}, settled: () => sidecars.settled() },
    pino({ level: 'silent' }),
  );
  return { edge, sidecars, held: () => held.at(-1) };
};

const lane = (name: string, more: Partial<Lane> = {}): Lane => ({
  ...{ destination: name, entries: 0, bytes: 0, dead: 0, quarantined: 0, oldest: 0 },
  ...{ pending: false, failing: false, generation: 0, reached: 0, staged: 0, former: [], ...more },
});
const report = (...lanes: Lane[]): QueueReport => ({ pid: 1, policy_version: 'v', lanes });

/** A queue, with the newest generation that was confirmed to it. */
const queueOf = (edge: Edge) => {
  let inForce = 0;
  const ends = edge.attach((state) => {
    for (const { destination: name, in_force } of state.destinations) if (name === 'api') inForce = in_force;
  });
  return { ...ends, inForce: () => inForce };
};
const turn = () => new Promise(setImmediate);

t.test('before the queue reports, a lane that the disk does not say to be empty is held', async (t) => {
  const { edge, held } = scene();
  edge.setPolicy(policy(api, loose));
  t.same(held(), ['api'], 'the disk tells nothing; one without an order overtakes nobody');
  t.match(edge.status()[0], { state: 'draining', why: /not reported yet/ });
  edge.setRemembered(new Set(['other']));
  t.same(held(), [], 'known to be empty');
  edge.setRemembered(new Set(['api']));
  t.same(held(), ['api']);
  const queue = queueOf(edge);
  t.same(held(), ['api'], 'it is attached, and has not reported');
  t.notOk(edge.queueReports);
  queue.report(report(lane('api')));
  t.same(held(), []);
  t.ok(edge.queueReports);
});

t.test('a destination that is added before the queue reports is held too', async (t) => {
  const { edge, held } = scene();
  edge.setPolicy(policy(loose));
  edge.setRemembered(new Set(['api']));
  edge.setPolicy(policy(loose, api));
  t.same(held(), ['api']);
});

t.test(
  'a queue that died stops no calls of lanes that were empty, and frees none that were not',
  async (t) => {
    const { edge, held } = scene();
    const other = destination({ name: 'other' });
    edge.setPolicy(policy(api, other));
    const queue = queueOf(edge);
    queue.report(report(lane('api', { pending: true, generation: 1 }), lane('other')));
    t.same(held(), ['api']);
    queue.detach();
    edge.setRemembered(undefined);
    edge.setRemembered(new Set());
    t.same(held(), ['api']);
    edge.setRemembered(new Set(['other']));
    t.same(held(), ['api', 'other'], 'marked while it was not attached');
    queueOf(edge).report(report(lane('other')));
    t.same(held(), [], 'the report of the next one names every lane');
  },
);

t.test('a hold that is confirmed to one queue is not confirmed to the next', async (t) => {
  const { edge, sidecars } = scene();
  edge.setPolicy(policy(api));
  const acknowledged = Promise.withResolvers<boolean>();
  sidecars.settled = () => acknowledged.promise;
  const old = queueOf(edge);
  old.report(report(lane('api', { pending: true, generation: 7 })));
  const young = queueOf(edge);
  acknowledged.resolve(true);
  await turn();
  t.equal(young.inForce(), 0, 'the confirmation was for the other one');
  old.detach();
  sidecars.settled = async () => true;
  young.report(report(lane('api', { pending: true, generation: 1 })));
  await turn();
  t.equal(young.inForce(), 1);
});

t.test('a queue that has been replaced is not heard any more', async (t) => {
  const { edge, held } = scene();
  edge.setPolicy(policy(api));
  const old = queueOf(edge);
  old.report(report(lane('api', { pending: true, generation: 1 })));
  const young = queueOf(edge);
  young.report(report(lane('api', { pending: true, generation: 1 })));
  old.report(report(lane('api')));
  t.same(held(), ['api']);
  old.detach();
  t.ok(edge.queueReports);
});

t.test('receipts wait for sidecars that may come back after a restart of the control plane', async (t) => {
  const { edge } = scene();
  edge.setPolicy(policy(api));
  const back = Promise.withResolvers<void>();
  edge.sidecarsBack = () => back.promise;
  const queue = queueOf(edge);
  queue.report(report(lane('api', { pending: true, generation: 1 })));
  await turn();
  t.equal(queue.inForce(), 0);
  back.resolve();
  await turn();
  t.equal(queue.inForce(), 1);
});
