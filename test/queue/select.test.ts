import t from 'tap';
import { checkSelection, globMatches } from '../../src/queue/operator/select.ts';

t.test('a star in a glob is any characters, and all else is itself', async (t) => {
  for (const [glob, text, is] of [
    ['http://a/b', 'http://a/b', true],
    ['http://a/b', 'http://a/bc', false],
    ['*', '', true],
    ['*.mp4', 'http://a/2026/clip.mp4', true],
    ['http://*/2026/*.mp4*', 'http://a/x/2026/y/clip.mp4?x=1', true],
    ['http://a/?x=[1]', 'http://a/?x=[1]', true],
    ['http://a/?x', 'http://a/yx', false],
    ['ab*ba', 'aba', false],
    ['ab*ba', 'abba', true],
    ['a*b*b', 'ab', false],
    ['a**b', 'ab', true],
    [`${'*a'.repeat(500)}b`, 'a'.repeat(100_000), false],
  ] as const)
    t.equal(globMatches(glob, text), is, `${glob.slice(0, 20)} ${text.slice(0, 20)}`);
});

t.test('what would mean everything must say so, and what means nothing is refused', async (t) => {
  const refused = (selection: unknown, message: RegExp) =>
    t.throws(() => checkSelection(selection), { code: 'LAYBY_REQUEST_INVALID', message });
  refused({}, /nothing is selected/);
  refused(null, /nothing is selected/);
  refused({ ids: [] }, /list of ids is empty/);
  refused({ ids: ['a'], state: 'dead' }, /exclude/);
  refused({ ids: ['a'], all: true }, /exclude/);
  refused({ state: 'gone' }, /no state gone/);
  refused({ class: 'gold' }, /no class gold/);
  refused({ olderThan: -1 }, /less than 0/);
  t.same(checkSelection({ all: true }), { all: true });
  t.same(checkSelection({ state: 'dead', url: '*' }), { state: 'dead', url: '*' });
});
