// What is told of entries whose destination the policy does not name.

import t from 'tap';
import { Backlog } from '../../src/queue/backlog.ts';
import { Orphans } from '../../src/queue/orphans.ts';
import { newHead, put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf } from './scene.ts';

const policyOf = (...names: string[]) => ({
  version: names.join(),
  destinations: names.map((name) => destinationOf(name)),
});

t.test('each orphaned destination is logged once, and again when it became one again', async (t) => {
  const store = await openStore(testdir(t));
  t.teardown(() => store.close());
  const told: string[] = [];
  const log = { warn: ({ destination }: { destination: string }) => told.push(destination) };
  const orphans = new Orphans(store, log as unknown as Logger);
  await put(store, 'x', { destination: 'a' });
  const dead = await put(store, 'x', { destination: 'b' });
  await store.dead(dead.id, '400');
  await put(store, 'x', { destination: 'c', group: 'g' });
  t.same([...orphans.counts()], [], 'without a policy nothing is known');
  orphans.policy(policyOf('a', 'b', 'c'));
  t.same(told, []);
  orphans.policy(policyOf('a'));
  t.same(told, ['b', 'c'], 'dead letters and parts of uploads count');
  orphans.policy(policyOf('d'));
  t.same(told, ['b', 'c', 'a']);
  orphans.policy(policyOf('a', 'b', 'c'));
  orphans.policy(policyOf('a', 'c'));
  t.same(told, ['b', 'c', 'a', 'b']);
  await store.drop(dead.id, 'dropped', 'by hand');
  t.same([...orphans.counts()], []);
});

t.test('a receipt waits for the hold of the destination that serves its host by then', async (t) => {
  const store = await openStore(testdir(t));
  t.teardown(() => store.close());
  const backlog = new Backlog(store, { mark: async () => {}, unmark: () => {} });
  t.teardown(() => backlog.close());
  const attachment = backlog.attach(() => {});
  const storing = backlog.storing('old', false);
  await put(store, 'x', newHead({ destination: 'old' }));
  backlog.successors = (lane) => (lane === 'old' ? ['new'] : []);
  backlog.former = (destination) => (destination === 'new' ? ['old'] : []);
  backlog.behind('new', true);
  const order: string[] = [];
  const held = storing.held().then(() => order.push('receipt'));
  attachment.inForce('old', 1);
  await new Promise(setImmediate);
  order.push('new is held');
  attachment.inForce('new', 1);
  await held;
  t.same(order, ['new is held', 'receipt']);
  storing.done();
  backlog.left('new');
  t.ok(backlog.isPending('new'), 'as long as it is behind the old one');
});
