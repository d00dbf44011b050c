// The state of a link, step by step.

import t from 'tap';
import { type LinkHints, newLink, step } from '../../src/link/state.ts';

t.test('a link of which nobody knows anything is up by default', async (t) => {
  t.strictSame(newLink(7).state, { state: 'up', by: 'default', since: 7 });
});

t.test('every mixture of hints has one answer, and the override wins', async (t) => {
  const table: [LinkHints, string][] = [
    [{ override: 'auto', kernel: undefined }, 'up by default'],
    [{ override: 'auto', kernel: true }, 'up by kernel'],
    [{ override: 'auto', kernel: false }, 'down by kernel'],
    [{ override: 'up', kernel: undefined }, 'up by override'],
    [{ override: 'up', kernel: true }, 'up by override'],
    [{ override: 'up', kernel: false }, 'up by override'],
    [{ override: 'down', kernel: undefined }, 'down by override'],
    [{ override: 'down', kernel: true }, 'down by override'],
    [{ override: 'down', kernel: false }, 'down by override'],
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
    t.strictSame(before.hints, { override: 'auto', kernel: true });
    t.strictSame(before.state, { state: 'up', by: 'kernel', since: 0 });
  },
);
