// The state of a link, step by step.

import t from 'tap';
import { isHeld, type LinkHints, newLink, SETTLE, settlesAt, step } from '../../src/link/state.ts';

t.test('a link of which nobody knows anything is up by default', async (t) => {
  t.strictSame(newLink(7).state, { state: 'up', by: 'default', since: 7 });
});

t.test('every mixture of hints has one answer, and the override wins', async (t) => {
  const table: [Partial<LinkHints>, string][] = [
    [{ override: 'auto', kernel: undefined }, 'up by default'],
    [{ override: 'auto', kernel: true }, 'up by kernel'],
    [{ override: 'auto', kernel: false }, 'down by kernel'],
    [{ override: 'up', kernel: undefined }, 'up by override'],
    [{ override: 'up', kernel: true }, 'up by override'],
    [{ override: 'up', kernel: false }, 'up by override'],
    [{ override: 'down', kernel: undefined }, 'down by override'],
    [{ override: 'down', kernel: true }, 'down by override'],
    [{ override: 'down', kernel: false }, 'down by override'],
    [{ kernel: true, network: 'down' }, 'down by network'],
    [{ kernel: true, network: 'slow' }, 'slow by network'],
    [{ kernel: false, network: 'up', probe: 'up' }, 'down by kernel'],
    [{ network: 'up' }, 'up by network'],
    [{ kernel: true, probe: 'down' }, 'down by probe'],
    [{ kernel: true, probe: 'slow', traffic: 'passes' }, 'slow by probe'],
    [{ kernel: true, traffic: 'fails' }, 'slow by traffic'],
    [{ traffic: 'passes' }, 'up by traffic'],
    [{ override: 'up', traffic: 'fails', probe: 'down' }, 'up by override'],
  ];
  for (const [hints, expected] of table) {
    const { state } = step(newLink(0), hints, 1);
    t.equal(`${state.state} by ${state.by}`, expected, JSON.stringify(hints));
  }
});

t.test('since is when the state changed, not when another source came to say the same', async (t) => {
  let link = newLink(0);
  link = step(link, { kernel: false }, 10);
  t.strictSame(link.state, { state: 'down', by: 'kernel', since: 10 });
  link = step(link, { override: 'down' }, 20);
  t.strictSame(link.state, { state: 'down', by: 'override', since: 10 });
  link = step(link, { kernel: true }, 30);
  t.strictSame(
    link.state,
    { state: 'down', by: 'override', since: 10 },
    'what the kernel says is kept for later',
  );
  link = step(link, { override: 'auto' }, 40);
  t.strictSame(link.state, { state: 'up', by: 'kernel', since: 40 });
  link = step(link, { kernel: undefined }, 50);
  t.strictSame(link.state, { state: 'up', by: 'default', since: 40 });
});

t.test(
  'a step without news keeps the very same state, and never changes the link it came from',
  async (t) => {
    const before = step(newLink(0), { kernel: true }, 1);
    const after = step(before, { kernel: true }, 2);
    t.equal(after.state, before.state);
    step(before, { override: 'down' }, 3);
    t.match(before.hints, { override: 'auto', kernel: true });
    t.strictSame(before.state, { state: 'up', by: 'kernel', since: 0 });
  },
);

t.test('a hint starts a hold, real progress ends it, and only a new hint starts another', async (t) => {
  for (const down of [{ kernel: false }, { network: 'down' }, { probe: 'down' }] as const) {
    let link = step(newLink(0), down, 10);
    t.equal(isHeld(link.state), true);
    link = step(link, { traffic: 'fails' }, 20);
    t.equal(link.state.state, 'down');
    link = step(link, { traffic: 'passes' }, 30);
    t.match(link.state, { state: 'up', by: 'traffic' });
    link = step(link, down, 40);
    t.equal(isHeld(link.state), false, 'it only says again what was wrong');
    const [source] = Object.keys(down);
    link = step(link, { [source!]: undefined }, 50);
    link = step(link, down, 60);
    t.equal(isHeld(link.state), true);
  }
  const cut = step(step(newLink(0), { override: 'down' }, 1), { traffic: 'passes' }, 2);
  t.match(cut.state, { state: 'down', by: 'override' }, 'the operator is no hint');
});

const flapping = () => {
  let link = newLink(0);
  for (let at = 0; at < 6; at++) link = step(link, { kernel: at % 2 === 1 }, at * 1_000);
  return link;
};

t.test(
  'after three downs within a minute it must last five seconds before calls go direct again',
  async (t) => {
    let link = flapping();
    t.strictSame(link.state, { state: 'slow', by: 'flapping', since: 5_000 });
    t.equal(isHeld(link.state), true);
    t.equal(settlesAt(link), 5_000 + SETTLE);
    link = step(link, {}, 5_000 + SETTLE - 1);
    t.equal(link.state.by, 'flapping');
    t.strictSame(step(link, {}, 5_000 + SETTLE).state, { state: 'up', by: 'kernel', since: 5_000 + SETTLE });
    t.strictSame(step(link, { traffic: 'passes' }, 6_000).state, { state: 'up', by: 'kernel', since: 6_000 });
    t.match(step(link, { kernel: false }, 6_000).state, { state: 'down', by: 'kernel' });
  },
);

t.test('downs that are far apart are no flapping, nor are those that the operator makes', async (t) => {
  let link = newLink(0);
  for (let at = 0; at < 12; at++) link = step(link, { kernel: at % 2 === 1 }, at * 20_000);
  t.match(link.state, { state: 'up', by: 'kernel' });
  for (let at = 0; at < 12; at++)
    link = step(link, { override: at % 2 === 1 ? 'auto' : 'down' }, 300_000 + at * 100);
  t.match(link.state, { state: 'up', by: 'kernel' });
  t.equal(settlesAt(link), undefined);
});
