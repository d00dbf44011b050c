import t from 'tap';
import { HeldBodies } from '../../src/egress/held-bodies.ts';

const { signal } = new AbortController();

/** Which of them have been let in, by now. */
const letIn = async (asked: Promise<unknown>[]): Promise<number[]> => {
  const known: number[] = [];
  for (const [i, one] of asked.entries()) one.then(() => known.push(i)).catch(() => {});
  await new Promise((done) => setImmediate(done));
  return known;
};

t.test('no more is held for an upstream at once than the bound, first come, first served', async (t) => {
  const held = new HeldBodies(10);
  const asked = [4, 5, 3, 1].map((bytes) => held.take('api', bytes, signal));
  t.same(await letIn(asked), [0, 1], 'the last one would fit, and waits for its turn');
  (await asked[0]!)();
  t.same(await letIn(asked), [0, 1, 2, 3]);
});

t.test('upstreams do not wait for one another', async (t) => {
  const held = new HeldBodies(10);
  const asked = [held.take('a', 10, signal), held.take('b', 10, signal), held.take('a', 1, signal)];
  t.same(await letIn(asked), [0, 1]);
});

t.test('one that is longer than the bound goes alone', async (t) => {
  const held = new HeldBodies(10);
  const asked = [held.take('a', 1, signal), held.take('a', 11, signal), held.take('a', 1, signal)];
  t.same(await letIn(asked), [0]);
  (await asked[0]!)();
  t.same(await letIn(asked), [0, 1]);
  (await asked[1]!)();
  t.same(await letIn(asked), [0, 1, 2]);
});

t.test('who gives up while it waits lets the next one by, and holds nothing', async (t) => {
  const held = new HeldBodies(10);
  const first = await held.take('a', 8, signal);
  const gone = new AbortController();
  const second = held.take('a', 5, gone.signal);
  const third = held.take('a', 2, signal);
  t.same(await letIn([second, third]), []);
  gone.abort(new Error('gone'));
  await t.rejects(second, { message: 'gone' });
  t.same(await letIn([third]), [0]);
  await t.rejects(held.take('a', 1, gone.signal), { message: 'gone' });
  first();
  (await third)();
  t.same(await letIn([held.take('a', 10, signal)]), [0]);
});
