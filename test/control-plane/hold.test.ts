import t from 'tap';
import { holdState, whyHeld, whyRefused } from '../../src/control-plane/hold.ts';
import { destination } from '../policy/destination.ts';

const quiet = { linkUp: true, stopped: false, pending: false, failing: false, lane: 'reported' } as const;

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

t.test('a destination that is never stored is held by the operator alone', async (t) => {
  const never = destination({ store: { mode: 'never' } });
  const down = { ...quiet, linkUp: false, pending: true, failing: true };
  t.equal(holdState(never, down), 'direct');
  t.equal(holdState(never, { ...down, stopped: true }), 'held');
  t.match(whyHeld('held', { ...down, stopped: true }, 'override', never), /operator .* refused/);
});

t.test('each state says why in words', async (t) => {
  t.match(whyHeld('held', quiet, 'kernel', destination()), /kernel/);
  t.match(whyHeld('draining', { ...quiet, failing: true }, 'default', destination()), /cannot be reached/);
  t.match(whyHeld('direct', quiet, 'default', destination()), /straight/);
  const refused = { destination: 'd', entries: 1, behind: 2, alone: true, oldest: [] };
  t.match(whyRefused('draining', refused), /^the destination refuses 1 entry, and 2 with the same order key/);
  t.equal(whyRefused('draining', { ...refused, alone: false }), undefined);
  t.equal(whyRefused('held', refused), undefined);
  t.equal(whyRefused('draining', undefined), undefined);
});
