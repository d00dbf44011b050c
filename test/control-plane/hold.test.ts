import t from 'tap';
import { holdState, whyHeld } from '../../src/control-plane/hold.ts';
import { destination } from '../policy/destination.ts';

const quiet = { linkUp: true, pending: false, failing: false, lane: 'reported' } as const;

t.test('calls go direct while the link is up and nothing waits', async (t) => {
  t.equal(holdState(destination(), quiet), 'direct');
});

t.test('a link that is down holds, whatever waits', async (t) => {
  for (const pending of [true, false]) {
    t.equal(holdState(destination(), { ...quiet, linkUp: false, pending }), 'held');
  }
});

t.test('a stored entry is not overtaken: the lane drains before calls go direct', async (t) => {
  for (const order of ['key', 'strict'] as const) {
    t.equal(holdState(destination({ store: { order } }), { ...quiet, pending: true }), 'draining');
  }
});

t.test('without an order calls go direct as soon as something gets through', async (t) => {
  const none = destination({ store: { order: 'none' } });
  t.equal(holdState(none, { ...quiet, pending: true, failing: true }), 'draining');
  t.equal(holdState(none, { ...quiet, pending: true }), 'direct');
});

t.test('a destination that is never stored is never held', async (t) => {
  const never = destination({ store: { mode: 'never' } });
  t.equal(holdState(never, { linkUp: false, pending: true, failing: true, lane: 'reported' }), 'direct');
});

t.test('each state says why in words', async (t) => {
  t.match(whyHeld('held', quiet, 'kernel'), /kernel/);
  t.match(whyHeld('draining', { ...quiet, failing: true }, 'default'), /cannot be reached/);
  t.match(whyHeld('direct', quiet, 'default'), /straight/);
});
