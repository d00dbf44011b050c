// The judge of objects is judged: hand-made violations for each law it knows.

import t from 'tap';
import { checkObjects } from './check-objects.ts';
import type { AppRecord } from './load-plan.ts';

/** Request n wrote n bytes, was sent at n * 10 and answered at n * 10 + 5. */
const put = (n: number, over: Partial<AppRecord> = {}): AppRecord => ({
  ...{ n, key: 'k', method: 'PUT', path: '/b/k', headers: [], trailers: [], bytes: n, sha256: `hash ${n}` },
  ...{ status: 307, entryId: `e${n}`, start: n * 10, end: n * 10 + 5, error: null },
  ...over,
});
const held = (n: number, path = '/b/k') => ({ path, bytes: n, sha256: `hash ${n}` });

t.test('a path that holds its last write has no violation', async (t) => {
  t.same(checkObjects([put(1), put(2)], [held(2)]), []);
  t.same(checkObjects([], []), []);
});

t.test('law 2: a path that holds nothing is a violation', async (t) => {
  t.match(checkObjects([put(1)], []), [/^law 2: \/b\/k is not there/]);
  t.same(checkObjects([put(1, { error: 'reset', status: 0 })], []), [], 'unless its app saw an error');
});

t.test('law 3: an old write in the place of a newer one is a violation', async (t) => {
  t.match(checkObjects([put(1), put(2)], [held(1)]), [/^law 3: \/b\/k holds what request 1 sent/]);
  t.same(checkObjects([put(1, { end: 100 }), put(2)], [held(1)]), [], 'unless the two overlapped');
});

t.test('law 4: an object that nobody sent is a violation', async (t) => {
  t.match(checkObjects([put(1)], [held(1), held(1, '/b/other')]), [/^law 4: \/b\/other/]);
});

t.test('law 5: other bytes are a violation', async (t) => {
  t.match(checkObjects([put(1)], [held(7)]), [/^law 5: \/b\/k holds 7 bytes that no request sent/]);
  t.match(checkObjects([put(1)], [{ ...held(1), bytes: 9 }]).length, 1, 'or a length that is not theirs');
});
