// How held deletions are told centrally: which nodes hold what, with the remedy, and when.

import t from 'tap';
import { HeldNews, type HeldView, heldMessage } from '../../src/policy/sources/kubernetes/held-news.ts';
import { heldOf } from '../../src/policy/sources/kubernetes/vanished.ts';

const view = (node: string, ...keys: string[]): HeldView => ({ node, kinds: heldOf(keys) });
const FOUR = ['a', 'b', 'c', 'd'].map((name) => `Destination ${name}`);

t.test('nodes that hold the same are one line, and the remedy fits into an Event', async (t) => {
  t.equal(heldMessage([]), undefined);
  t.equal(
    heldMessage([view('edge-1', ...FOUR), view('edge-2', ...FOUR), view('truck', 'Mesh')]),
    [
      'lost at once, and still in force on edge-1, edge-2: 4 destinations (a, b, c, d)',
      'truck: the object of kind Mesh',
      'apply them again, or accept the deletions with the annotation layby.dev/accept-deletions=true on an object of kind Mesh',
    ].join('; '),
  );
  const many = Array.from({ length: 500 }, (_, n) =>
    view(`${'n'.repeat(60)}${n}`, ...FOUR.map((key) => `${key}${'x'.repeat(60)}${n}`)),
  );
  const text = heldMessage(many) ?? '';
  t.ok(text.length <= 1024, `${text.length}`);
  t.match(text, /on an object of kind Mesh$/);
});

t.test('told a moment later, again where it is more, and each hour', async (t) => {
  const news = new HeldNews();
  const one = [view('edge-1', ...FOUR)];
  const both = [...one, view('edge-2', ...FOUR)];
  t.equal(news.dueAt([], 0), undefined);
  t.equal(news.dueAt(one, 1_000), 4_000, 'the others are still coming');
  t.equal(news.dueAt(both, 2_000), 4_000);
  news.told(both, 4_000);
  t.equal(news.dueAt(one, 5_000), 3_604_000);
  t.equal(news.dueAt([...both, view('truck', 'Mesh')], 6_000), 14_000);
  t.equal(news.dueAt([], 7_000), undefined);
  t.equal(news.dueAt(one, 20_000), 23_000, 'another time is told again');
});
