// What the status of an object says of what all nodes say.

import t from 'tap';
import { transitions } from '../../src/policy/sources/kubernetes/events.ts';
import type { ObjectReport } from '../../src/policy/sources/kubernetes/report.ts';
import {
  differs,
  type NodeView,
  type Status,
  type Subject,
  statusOf,
} from '../../src/policy/sources/kubernetes/status.ts';

const SUBJECT: Subject = { generation: 1, queued: true, hosts: ['a.example'] };
const AT = '2026-01-01T00:00:00Z';
const LATER = '2026-01-01T00:00:09Z';

const view = (
  node: string,
  changes: Partial<ObjectReport> = {},
  more: Partial<Omit<NodeView, 'report'>> = {},
): NodeView => ({
  ...{ node, queue: true, away: false, ...more },
  report: {
    ...{ kind: 'Destination', namespace: 'default', name: 'a', uid: 'u' },
    ...{ observedGeneration: 1, accepted: true, sidecars: 2, programmed: 2, ...changes },
  },
});

const of = (nodes: NodeView[], subject: Partial<Subject> = {}, before?: Status) =>
  statusOf({ ...SUBJECT, ...subject }, nodes, before, AT);
const said = ({ conditions = [] }: Status) =>
  conditions.map(({ type, status, reason, message }) => [type, status, reason, message]);
const ready = (status: Status) => said(status)[0]?.slice(1);

t.test('all have it', async (t) => {
  const status = of([view('edge-1'), view('edge-0', { sidecars: 1, programmed: 1 })]);
  t.same(said(status), [
    ['Ready', 'True', 'Ready', 'on 2 of 2 vehicles'],
    ['Accepted', 'True', 'Accepted', 'by 2 control planes'],
    ['Programmed', 'True', 'Programmed', '3 of 3 sidecars on 2 nodes'],
    ['ResolvedRefs', 'True', 'ResolvedRefs', ''],
    ['Nacked', 'False', 'NotNacked', ''],
  ]);
  t.equal(status.observedGeneration, 1);
  t.same(status.vehicles, { total: 2, programmed: 2, away: 0 });
});

t.test('the order of the reports does not count', async (t) => {
  const nodes = [
    view('edge-1'),
    view('edge-2', { nack: 'sidecar app: no', unresolved: 'there is no Service a/b' }),
    view('edge-3', { accepted: false, message: 'spec.x: no' }),
  ];
  t.same(of(nodes), of(nodes.toReversed()));
  t.same(said(of(nodes)), [
    ['Ready', 'False', 'Invalid', 'edge-3: spec.x: no'],
    ['Accepted', 'False', 'Invalid', 'edge-3: spec.x: no'],
    ['Programmed', 'False', 'Invalid', 'what was in force before stays in force'],
    ['ResolvedRefs', 'False', 'NoEndpoints', 'edge-2: there is no Service a/b'],
    ['Nacked', 'True', 'Nacked', 'edge-2: sidecar app: no'],
    ['Stalled', 'True', 'Invalid', 'edge-3: spec.x: no'],
  ]);
});

t.test('a vehicle that is away does not hold Ready, but Programmed', async (t) => {
  const away = { away: true, queue: false };
  const status = of([view('edge-1'), view('edge-2', { observedGeneration: 0, programmed: 0 }, away)]);
  t.same(ready(status), ['True', 'Ready', 'on 1 of 1 vehicle; 1 away: edge-2']);
  t.match(said(status)[2], ['Programmed', 'False', 'Waiting', /not seen yet by edge-2$/]);
  t.same(status.vehicles, { total: 2, programmed: 1, away: 1 });
  const refusing = of([view('edge-1'), view('edge-2', { accepted: false, message: 'no', nack: 'no' }, away)]);
  t.same(ready(refusing), ['True', 'Ready', 'on 1 of 1 vehicle; 1 away: edge-2']);
  t.notOk(refusing.conditions.some(({ type }) => type === 'Stalled'));
  t.same(ready(of([view('edge-2', {}, away)])), ['True', 'Ready', 'on 0 of 0 vehicles; 1 away: edge-2']);
});

t.test('one that is here holds it: not seen, not programmed, its queue silent', async (t) => {
  t.same(ready(of([view('edge-1'), { node: 'edge-2', queue: true, away: false }])), [
    ...['False', 'Waiting', 'on 1 of 2 vehicles; waiting for edge-2'],
  ]);
  t.same(ready(of([view('edge-1', { programmed: 1 })])), [
    ...['False', 'Waiting', 'on 0 of 1 vehicle; waiting for edge-1'],
  ]);
  const silent = view('edge-1', {}, { queue: false });
  t.same(ready(of([silent])), ['False', 'QueueAway', 'the queue does not answer on edge-1']);
  t.same(ready(of([silent], { queued: false })), ['True', 'Ready', 'on 1 of 1 vehicle']);
});

t.test(
  'before any node has judged it, the cluster has a say in what is wrong and none in what is right',
  async (t) => {
    t.same(said(of([])).slice(0, 3), [
      ['Ready', 'Unknown', 'Waiting', 'no vehicle has reported yet'],
      ['Accepted', 'Unknown', 'Waiting', 'no vehicle has reported yet'],
      ['Programmed', 'Unknown', 'Waiting', 'no vehicle has reported yet'],
    ]);
    t.same(said(of([], { findings: 'spec.x: no' })).slice(0, 2), [
      ['Ready', 'False', 'Invalid', 'spec.x: no'],
      ['Accepted', 'False', 'Invalid', 'spec.x: no'],
    ]);
    t.same(ready(of([view('edge-1')], { findings: 'spec.x: no' })), ['True', 'Ready', 'on 1 of 1 vehicle']);
  },
);

t.test('the size does not grow with the number of nodes, and hosts are shortened', async (t) => {
  const nodes = (n: number) =>
    Array.from({ length: n }, (_, i) => view(`edge-${i}`, { nack: `sidecar ${i}: ${'no '.repeat(20)}` }));
  const [some, many] = [of(nodes(10)), of(nodes(1_000))].map((status) => JSON.stringify(status).length);
  t.ok(many! - some! < 40, `${some} and ${many} bytes`);
  const waiting = Array.from({ length: 12 }, (_, i) => view(`edge-${10 + i}`, { programmed: 0 }));
  t.equal(
    ready(of(waiting))?.[2],
    'on 0 of 12 vehicles; waiting for edge-10, edge-11, edge-12, edge-13, edge-14 and 7 more',
  );
  t.equal(of([], { hosts: ['a', 'b', 'c'] }).hosts, 'a, b, c');
  t.equal(of([], { hosts: ['a', 'b', 'c', 'd', 'e'] }).hosts, 'a, b and 3 more');
});

t.test('numbers are no news, all else is', async (t) => {
  const before = of([view('edge-1')]);
  const after = (...nodes: NodeView[]) => differs(before, statusOf(SUBJECT, nodes, before, LATER));
  t.equal(differs(undefined, before), 'yes');
  t.equal(after(view('edge-1')), 'no');
  t.equal(after(view('edge-1', { sidecars: 3, programmed: 3 })), 'in numbers');
  t.equal(after(view('edge-1'), view('edge-2')), 'in numbers');
  t.equal(after(view('edge-1', { entries: 9 })), 'in numbers');
  t.equal(after(view('edge-1', { entries: 9, dead: 1 })), 'yes');
  t.equal(after(view('edge-1', { sidecars: 3 })), 'yes');
  const second = statusOf(SUBJECT, [view('edge-1', { nack: 'no' })], before, LATER);
  t.equal(second.conditions.find(({ type }) => type === 'Accepted')?.lastTransitionTime, AT);
  t.equal(second.conditions.find(({ type }) => type === 'Nacked')?.lastTransitionTime, LATER);
});

t.test('an event for what has become worse, and none for what was so before', async (t) => {
  const good = of([view('edge-1')]);
  const bad = of([
    view('edge-1', { accepted: false, message: 'spec.x: no', nack: 'odd', dead: 2, entries: 2 }),
  ]);
  t.same(
    transitions(good, bad).map(({ reason }) => reason),
    ['Refused', 'Nacked', 'DeadLetters'],
  );
  t.same(transitions(bad, bad), []);
  t.same(transitions(bad, good), []);
  t.match(transitions(undefined, of([view('edge-1', {}, { queue: false })])), [
    { reason: 'QueueAway', note: 'the queue does not answer on edge-1' },
  ]);
});
