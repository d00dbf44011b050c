// Which deletions are held: all of a kind, or most of it within half a minute; and when they are let go.

import t from 'tap';
import type { Destination, Policy, Service } from '../../src/policy/policy.ts';
import {
  heldOf,
  heldText,
  SETTLING_MS,
  Vanished,
  WINDOW_MS,
} from '../../src/policy/sources/kubernetes/vanished.ts';
import { policyOf } from '../../src/policy/version.ts';

const destination = (name: string, hosts = [`${name}.example`]) =>
  ({ name, hosts }) as unknown as Destination;
const service = (name: string) =>
  ({
    name,
    hosts: [`${name}.vehicle`],
    node: name,
    address: { host: '10.0.0.1', port: 15008 },
  }) as unknown as Service;

/** A cluster and what is in force of it; `d1 d2` are destinations, `s1` a service, `mesh` lets calls pass. */
const follow = (names: string, held: string[] = []) => {
  const vanished = new Vanished(held);
  const partsOf = (text: string) => text.split(' ').filter((name) => name !== '');
  const policyFrom = (text: string): Policy =>
    policyOf({
      destinations: partsOf(text)
        .filter((name) => name.startsWith('d'))
        .map((text) => {
          const [name = '', host] = text.split('@');
          return destination(name, host === undefined ? undefined : [host]);
        }),
      services: partsOf(text)
        .filter((name) => name.startsWith('s'))
        .map(service),
      ...(partsOf(text).includes('mesh') && { passthrough: 'allow' as const }),
    });
  let inForce: Policy | undefined = policyFrom(names);
  let now = 0;
  return {
    /** Returns what is in force then. */
    lists: (text: string, { after = 0, accepted = false } = {}) => {
      now += after;
      const policy = policyFrom(text);
      const there = new Set(
        partsOf(text).map((each) => {
          const [name = ''] = each.split('@');
          return name === 'mesh' ? 'Mesh' : `${name.startsWith('d') ? 'Destination' : 'Service'} ${name}`;
        }),
      );
      const kept = vanished.look({ inForce, policy, there, accepted, now });
      inForce = kept.policy;
      const { destinations, services = [], passthrough } = kept.policy;
      return [...destinations, ...services]
        .map(({ name }) => name)
        .concat(passthrough === 'allow' ? 'mesh' : [])
        .join(' ');
    },
    get held() {
      return vanished.held.map((key) => key.replace(/^.* /, '')).join(' ');
    },
    vanished,
  };
};

t.test('one of several is let go after a moment', async (t) => {
  const cluster = follow('d1 d2 d3');
  t.equal(cluster.lists('d1 d2'), 'd1 d2 d3');
  t.equal(cluster.lists('d1 d2', { after: SETTLING_MS - 1 }), 'd1 d2 d3');
  t.equal(cluster.lists('d1 d2', { after: 1 }), 'd1 d2');
  t.equal(cluster.held, '');
});

t.test('all of a kind stay, also where it was one, and whatever is left of others', async (t) => {
  for (const [before, after, held] of [
    ['d1 d2', '', 'd1 d2'],
    ['d1', '', 'd1'],
    ['d1 d2 s1', 's1', 'd1 d2'],
    ['d1 s1', 'd1', 's1'],
    ['d1 mesh', 'd1', 'Mesh'],
    ['d1 s1 mesh', '', 'd1 Mesh s1'],
  ] as const) {
    const cluster = follow(before);
    for (const wait of [0, SETTLING_MS, 24 * 3600 * 1000])
      t.equal(cluster.lists(after, { after: wait }), before, `${before} → ${after}`);
    t.equal(cluster.held, held);
    t.equal(cluster.lists(after, { accepted: true }), after);
    t.equal(cluster.held, '');
  }
});

t.test('deleted one after another in a row, none of them ever leaves', async (t) => {
  const cluster = follow('d1 d2 d3 d4 d5');
  for (const left of ['d2 d3 d4 d5', 'd3 d4 d5', 'd4 d5', 'd5', ''])
    t.equal(cluster.lists(left, { after: 500 }), 'd1 d2 d3 d4 d5');
  t.equal(cluster.held, 'd1 d2 d3 d4 d5');
});

t.test('most of them within the window are held; slowly they may go, but for the last', async (t) => {
  const quick = follow('d1 d2 d3 d4');
  quick.lists('d2 d3 d4');
  t.equal(quick.lists('d2 d3 d4', { after: SETTLING_MS }), 'd2 d3 d4');
  quick.lists('d3 d4', { after: 3_000 });
  t.equal(quick.lists('d3 d4', { after: SETTLING_MS }), 'd3 d4');
  t.equal(quick.lists('d4', { after: 3_000 }), 'd3 d4', 'the third of four within 30 s');
  t.equal(quick.held, 'd3');

  const slow = follow('d1 d2 d3 d4');
  for (const left of ['d2 d3 d4', 'd3 d4', 'd4']) {
    slow.lists(left, { after: WINDOW_MS });
    t.equal(slow.lists(left, { after: SETTLING_MS }), left);
  }
  t.equal(slow.lists('', { after: WINDOW_MS }), 'd4');
  t.equal(slow.held, 'd4');
});

t.test('what is there again is held no more, one by one, and the others stay', async (t) => {
  const cluster = follow('d1 d2 d3 d4 d5');
  cluster.lists('');
  cluster.lists('d1 d2 d3 d4', { after: 60_000 });
  t.equal(cluster.held, 'd5');
  t.equal(cluster.lists('d1 d2 d3 d4', { after: 3600_000 }), 'd1 d2 d3 d4 d5');
  cluster.lists('d1 d2 d3 d4 d5');
  t.equal(cluster.held, '');
  cluster.lists('d1 d2 d3 d4');
  t.equal(cluster.lists('d1 d2 d3 d4', { after: SETTLING_MS }), 'd1 d2 d3 d4');
});

t.test('a new object takes over the hosts of what is gone', async (t) => {
  const cluster = follow('d1 d2 d3');
  t.equal(cluster.lists('d7@d1.example d8@d2.example d9@d3.example'), 'd7 d8 d9');
  t.equal(cluster.held, '');
  const late = follow('d1 d2 d3');
  late.lists('');
  t.equal(late.lists('d7@d1.example'), 'd2 d3 d7');
  t.equal(late.held, 'd2 d3');
});

t.test('after a restart it is the same: by what is in force, and by what was held', async (t) => {
  const restarted = follow('d1 d2 d3');
  t.equal(restarted.lists(''), 'd1 d2 d3');
  t.equal(restarted.held, 'd1 d2 d3');
  const again = follow('d1 d2 d3 d4', ['Destination d4']);
  t.equal(again.lists('d1 d2 d3', { after: 3600_000 }), 'd1 d2 d3 d4');
  t.equal(again.held, 'd4');
  const stale = follow('d1', ['Destination d4']);
  stale.lists('d1');
  t.equal(stale.held, '', 'what is not in force is not held');
});

t.test('what has vanished is named, but not all of a thousand', async (t) => {
  t.equal(
    heldText(heldOf(['Destination a', 'Destination b', 'Mesh', 'Service c'])),
    '2 destinations (a, b) and 1 service (c) and the object of kind Mesh',
  );
  t.match(
    heldText(heldOf(Array.from({ length: 1000 }, (_, i) => `Destination d${i}`))),
    /^1000 destinations \(d0, .* d7, and 992 more\)$/,
  );
});
