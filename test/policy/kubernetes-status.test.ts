// What the status of an object says of what several control planes say.

import t from 'tap';
import {
  differs,
  type NodeReport,
  type Status,
  statusWith,
} from '../../src/policy/sources/kubernetes/status.ts';

const report = (changes: Partial<NodeReport> = {}): NodeReport => ({
  node: 'edge-1',
  observedGeneration: 1,
  accepted: true,
  sidecars: 2,
  programmed: 2,
  ...changes,
});

const AT = '2026-01-01T00:00:00Z';
const LATER = '2026-01-01T00:00:09Z';
const said = ({ conditions = [] }: Status) =>
  conditions.map(({ type, status, reason, message }) => [type, status, reason, message]);

t.test('the words of all nodes are kept, and the conditions follow from all of them', async (t) => {
  const one = statusWith(undefined, report(), AT);
  t.same(said(one), [
    ['Accepted', 'True', 'Accepted', 'by 1 control plane'],
    ['Programmed', 'True', 'Programmed', '2 of 2 sidecars on 1 node'],
    ['ResolvedRefs', 'True', 'ResolvedRefs', ''],
    ['Nacked', 'False', 'NotNacked', ''],
  ]);
  const two = statusWith(one, report({ node: 'edge-0', sidecars: 1, programmed: 0 }), LATER);
  t.same(said(two)[1], ['Programmed', 'False', 'Waiting', '2 of 3 sidecars on 2 nodes; waiting for edge-0']);
  t.same(
    two.nodes.map(({ node }) => node),
    ['edge-0', 'edge-1'],
  );
  t.same(
    two.conditions.map(({ lastTransitionTime }) => lastTransitionTime),
    [AT, LATER, AT, AT],
  );
});

t.test('whoever says its word last comes to the same conclusion', async (t) => {
  const words = [
    report(),
    report({ node: 'edge-2', nack: 'sidecar app: no', unresolved: 'there is no Service a/b' }),
    report({ node: 'edge-3', accepted: false, message: 'spec.x: no' }),
  ];
  const all = (order: number[]) =>
    order.reduce<Status | undefined>((status, i) => statusWith(status, words[i]!, AT), undefined);
  t.same(all([0, 1, 2]), all([2, 0, 1]));
  t.same(said(all([1, 2, 0])!), [
    ['Accepted', 'False', 'Invalid', 'spec.x: no'],
    ['Programmed', 'False', 'Invalid', 'what was in force before stays in force'],
    ['ResolvedRefs', 'False', 'NoEndpoints', 'there is no Service a/b'],
    ['Nacked', 'True', 'Nacked', 'edge-2: sidecar app: no'],
  ]);
});

t.test('a node that is away does not hide that it has not seen the newest', async (t) => {
  const old = statusWith(undefined, report({ node: 'edge-2' }), AT);
  t.same(said(statusWith(old, report({ observedGeneration: 2 }), AT)), [
    ['Accepted', 'True', 'Accepted', 'by 1 control plane'],
    ['Programmed', 'False', 'Waiting', '4 of 4 sidecars on 2 nodes; not seen yet by edge-2'],
    ['ResolvedRefs', 'True', 'ResolvedRefs', ''],
    ['Nacked', 'False', 'NotNacked', ''],
  ]);
});

t.test('numbers of sidecars are no news, all else is', async (t) => {
  const before = statusWith(undefined, report(), AT);
  t.equal(differs(undefined, before), 'yes');
  t.equal(differs(before, statusWith(before, report(), LATER)), 'no');
  t.equal(differs(before, statusWith(before, report({ sidecars: 3, programmed: 3 }), LATER)), 'in numbers');
  t.equal(differs(before, statusWith(before, report({ sidecars: 3 }), LATER)), 'yes');
  t.equal(differs(before, statusWith(before, report({ observedGeneration: 2 }), LATER)), 'yes');
});
