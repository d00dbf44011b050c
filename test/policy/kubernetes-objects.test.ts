// What objects of a cluster make together: wrong ones beside right ones, claims, and what stays.

import t from 'tap';
import { parsePolicy } from '../../src/policy/parse.ts';
import type { Policy } from '../../src/policy/policy.ts';
import { Objects, type PolicyObject, verdictText } from '../../src/policy/sources/kubernetes/objects.ts';

interface Wanted {
  name: string;
  hosts?: string[];
  /** The older the smaller. */
  born?: number;
  namespace?: string;
  generation?: number;
  more?: object;
}

const object = ({
  name,
  hosts,
  born = 1,
  namespace = 'default',
  generation = 1,
  more,
}: Wanted): PolicyObject => ({
  kind: 'Destination',
  metadata: {
    name,
    namespace,
    generation,
    uid: `${namespace}-${name}-${born}`,
    resourceVersion: '1',
    creationTimestamp: `2026-01-01T00:00:0${born}Z`,
  },
  spec: { hosts: hosts ?? [`${name}.example`], upstream: { url: 'http://127.0.0.1:9' }, ...more },
});

const fresh = () => new Objects(() => undefined);
const hostsOf = ({ destinations }: Policy) => destinations.flatMap(({ hosts }) => hosts).sort();
const textOf = (verdicts: ReturnType<Objects['judge']>['verdicts']) =>
  verdicts.filter(({ findings }) => findings.length > 0).map(verdictText);

const WRONG = { answerTimeout: '1s' };

t.test('objects make the policy that the same documents in files make', async (t) => {
  const { policy, verdicts } = fresh().judge([object({ name: 'b' }), object({ name: 'a' })], undefined);
  const files = ['a', 'b'].map((name) => ({
    path: `${name}.yaml`,
    text: JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name },
      spec: object({ name }).spec,
    }),
  }));
  t.equal(policy.version, parsePolicy(files).version);
  t.same(textOf(verdicts), []);
  t.same(fresh().judge([], undefined).policy.destinations, []);
});

t.test('a wrong object is left out, and where there is one its version before stays', async (t) => {
  const objects = fresh();
  const first = objects.judge([object({ name: 'a' }), object({ name: 'b', more: WRONG })], undefined);
  t.same(hostsOf(first.policy), ['a.example']);
  t.same(textOf(first.verdicts), [
    'destination default/b: spec.answerTimeout: expected at least 2s, but found 1s',
  ]);
  const edited = object({ name: 'a', hosts: ['x.example'], generation: 2, more: WRONG });
  const second = objects.judge([edited, object({ name: 'b' })], first.policy);
  t.same(hostsOf(second.policy), ['a.example'], 'the object of one generation is judged once');
  const third = fresh().judge([edited, object({ name: 'b', generation: 2 })], second.policy);
  t.same(hostsOf(third.policy), ['a.example', 'b.example']);
  t.same(hostsOf(fresh().judge([], third.policy).policy), [], 'what is deleted does not stay');
});

t.test('services of one sidecar at one address: the older has it', async (t) => {
  const service = (name: string, born: number, address: string): PolicyObject => ({
    ...object({ name, born }),
    kind: 'Service',
    spec: {
      hosts: [`${name}.fleet`],
      node: 'fleet.map',
      address,
      app: '127.0.0.1:8080',
      allow: ['fleet.camera'],
    },
  });
  const { policy, verdicts } = fresh().judge(
    [service('b', 1, 'map.fleet.svc:15008'), service('a', 2, 'tiles.fleet.svc:15008')],
    undefined,
  );
  t.match(policy.services, [{ name: 'b' }]);
  t.same(textOf(verdicts), [
    'service default/a: spec.address: the address 0.0.0.0:15008 of the sidecar fleet.map is already claimed by service default/b',
  ]);
});

t.test('who has a host keeps it, whoever is older', async (t) => {
  const before = fresh().judge([object({ name: 'young', born: 5 })], undefined).policy;
  const thief = object({ name: 'old', born: 1, hosts: ['old.example', 'young.example'] });
  const { policy, verdicts } = fresh().judge([object({ name: 'young', born: 5 }), thief], before);
  t.same(hostsOf(policy), ['young.example']);
  t.same(textOf(verdicts), [
    'destination default/old: spec.hosts[1]: the host young.example is already claimed by destination default/young',
  ]);
  t.same(
    hostsOf(fresh().judge([object({ name: 'young', born: 5 }), thief], undefined).policy),
    ['old.example', 'young.example'],
    'where both are new the older has it',
  );
});

t.test('a host moves from one object to another in one change', async (t) => {
  const before = fresh().judge(
    [object({ name: 'a', hosts: ['a.example', 'h.example'] }), object({ name: 'b' })],
    undefined,
  );
  const { policy, verdicts } = fresh().judge(
    [
      object({ name: 'a', generation: 2, born: 2 }),
      object({ name: 'b', hosts: ['h.example'], generation: 2 }),
    ],
    before.policy,
  );
  t.same(textOf(verdicts), []);
  t.same(hostsOf(policy), ['a.example', 'h.example']);
});

t.test('of two objects with one name the older counts, in whatever namespace', async (t) => {
  const { policy, verdicts } = fresh().judge(
    [object({ name: 'a', born: 2, hosts: ['two.example'] }), object({ name: 'a', namespace: 'x', born: 1 })],
    undefined,
  );
  t.same(hostsOf(policy), ['a.example']);
  t.same(textOf(verdicts), [
    'destination default/a: metadata.name: the name a is already claimed by destination x/a',
  ]);
});

t.test('a review says what would be wrong, and leaves nothing behind', async (t) => {
  const objects = fresh();
  const mine = object({ name: 'a' });
  const { policy } = objects.judge([mine], undefined);
  const attempt = { ...object({ name: 'a', generation: 2, more: WRONG }) };
  t.match(objects.review(attempt, [], policy), [{ path: 'spec.answerTimeout' }]);
  t.match(objects.review(object({ name: 'b', hosts: ['a.example'] }), [mine], policy), [
    { path: 'spec.hosts[0]' },
  ]);
  t.same(objects.review(object({ name: 'b' }), [mine], policy), []);
  t.same(textOf(objects.judge([object({ name: 'a', generation: 2 })], policy).verdicts), []);
});

t.test('of several meshes the oldest counts, and a wrong one leaves it as it was', async (t) => {
  const mesh = (name: string, born: number, passthrough: string, generation = 1): PolicyObject => ({
    ...object({ name, born, generation }),
    kind: 'Mesh',
    spec: { passthrough },
  });
  const objects = fresh();
  const first = objects.judge([mesh('new', 2, 'deny'), mesh('old', 1, 'allow')], undefined);
  t.equal(first.policy.passthrough, 'allow');
  t.same(textOf(first.verdicts), [
    'mesh default/new: kind: the one object of kind Mesh is already mesh default/old',
  ]);
  const wrong = objects.judge([mesh('old', 1, 'alow', 2)], first.policy);
  t.equal(wrong.policy.passthrough, 'allow');
  t.match(textOf(wrong.verdicts), [/spec\.passthrough/]);
  const edited = objects.judge([mesh('new', 2, 'allow'), mesh('old', 1, 'deny', 3)], first.policy);
  t.equal(edited.policy.passthrough, undefined, 'the younger does not take over');
  t.equal(objects.judge([], first.policy).policy.passthrough, undefined);
});
