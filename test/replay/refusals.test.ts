// What follows from a 401, a 403 and a suspicious answer: the pauses, and when an entry becomes a dead letter.

import t from 'tap';
import { AskFirst } from '../../src/replay/ask-first.ts';
import type { Result } from '../../src/replay/deliver/deliver.ts';
import { Refusals } from '../../src/replay/refusals.ts';
import { afterSuspicious } from '../../src/replay/suspicious.ts';
import { afterUnauthorized, meshAuthorizes } from '../../src/replay/unauthorized.ts';
import { destination } from '../policy/destination.ts';

const S = 1_000;
const MIN = 60 * S;
const HOUR = 60 * MIN;
const middle = () => 0.5;

const pause = (next: ReturnType<typeof afterUnauthorized>): number | string =>
  'pauseMs' in next ? next.pauseMs : 'dead';

t.test('the pause after a refusal doubles from 30 s to an hour, with jitter', async (t) => {
  const after = (refusals: number, random = middle) =>
    pause(afterUnauthorized({ signed: true, refusals, age: 1000 * HOUR }, random));
  t.same(
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => after(n)),
    [30, 60, 120, 240, 480, 960, 1920, 3600].map((s) => s * S),
  );
  t.equal(after(1_000_000), HOUR);
  t.equal(
    after(1, () => 0),
    24 * S,
  );
  t.equal(
    after(9, () => 0.999999),
    4_319_999,
  );
});

t.test('what nobody can mend is a dead letter after four refusals over two minutes', async (t) => {
  const after = (refusals: number, age: number) =>
    pause(afterUnauthorized({ signed: false, refusals, age }, middle));
  t.equal(after(3, HOUR), 120 * S);
  t.equal(after(4, 119 * S), 240 * S, 'a link that flaps wakes entries early');
  t.equal(after(4, 120 * S), 'dead');
  t.match(afterUnauthorized({ signed: false, refusals: 4, age: HOUR }), { dead: /queue edit.*queue retry/ });
  t.equal(pause(afterUnauthorized({ signed: true, refusals: 100, age: 1000 * HOUR }, middle)), HOUR);
});

t.test('the mesh authorizes where it signs, or its policy sets the credential', async (t) => {
  t.notOk(meshAuthorizes(destination()));
  t.ok(meshAuthorizes(destination({ upstream: { sign: { aws: { service: 's3', region: 'r' } } } })));
  const sets = (...names: string[]) =>
    destination({
      headers: {
        request: { set: names.map((name) => [name, 'x']), remove: [] },
        response: { set: [], remove: [] },
      },
    });
  t.ok(meshAuthorizes(sets('authorization')));
  t.ok(meshAuthorizes(sets('x-fleet', 'x-api-key')));
  t.notOk(meshAuthorizes(sets('x-fleet')));
});

t.test(
  'a suspicious answer makes a dead letter only where others are delivered, or after a day',
  async (t) => {
    const after = (answers: number, age: number, othersDelivered: boolean) =>
      pause(afterSuspicious({ answers, age, othersDelivered }, middle));
    t.same(
      [1, 2, 3, 4, 5, 6].map((n) => after(n, 0, false)),
      [30, 60, 120, 240, 300, 300].map((s) => s * S),
    );
    t.equal(after(2, HOUR, true), 60 * S);
    t.equal(after(3, 59 * S, true), 120 * S);
    t.equal(after(3, MIN, true), 'dead', 'it is the answer of the destination to this one');
    t.equal(after(1_000, 24 * HOUR - 1, false), 300 * S, 'a night at a portal');
    t.equal(after(9, 100 * HOUR, false), 300 * S);
    t.equal(after(10, 24 * HOUR, false), 'dead');
  },
);

t.test('a delivery ends the pauses of the others once, and not of one that is refused alone', async (t) => {
  const refusals = new Refusals(middle);
  for (let n = 0; n < 6; n++) for (const id of ['a', 'b']) refusals.unauthorized(id, true, n);
  t.same(refusals.delivered('b', 10), ['a'], 'the credentials may be right again');
  t.same(refusals.delivered('c', 11), [], 'it was woken');
  t.equal(pause(refusals.unauthorized('a', true, 12)), 30 * S, 'from the start');
  t.same(refusals.delivered('c', 13), [], 'it alone is refused');
  t.equal(pause(refusals.unauthorized('a', true, 14)), 60 * S);
  t.same(refusals.delivered('c', 15), []);
  t.equal(pause(refusals.unauthorized('a', true, 16)), 120 * S);
  t.same(refusals.credentialsChanged(), ['a']);
  t.equal(pause(refusals.unauthorized('a', true, 17)), 30 * S);
  t.equal(pause(refusals.unauthorized('a', true, 18)), 60 * S);
  t.same(refusals.delivered('c', 19), ['a'], 'refused while nothing else was delivered');
});

t.test('a refusal of another kind is counted apart, and what has left is forgotten', async (t) => {
  const refusals = new Refusals(middle);
  for (const now of [0, 1, 2]) refusals.suspicious('a', now * MIN);
  t.equal(pause(refusals.unauthorized('a', false, 3 * MIN)), 30 * S);
  t.equal(pause(refusals.suspicious('a', 4 * MIN)), 30 * S);
  refusals.forget('a');
  t.equal(pause(refusals.suspicious('a', 5 * MIN)), 30 * S);
  refusals.delivered('b', 6 * MIN);
  t.equal(pause(refusals.suspicious('a', 7 * MIN)), 60 * S);
  t.equal(pause(refusals.suspicious('a', 8 * MIN)), 'dead');
  for (let n = 0; n < 5_000; n++) refusals.unauthorized(String(n), true, n);
  t.equal(pause(refusals.unauthorized('4999', true, 6_000)), 60 * S);
  t.equal(pause(refusals.unauthorized('0', true, 6_000)), 30 * S, 'memory is bounded');
});

t.test('a large body is asked for first after a refusal, until something is delivered', async (t) => {
  const askFirst = new AskFirst();
  const answered = (outcome: 'delivered' | 'retry' | 'unauthorized' | 'dead'): Result => ({
    ...{ kind: 'answered', outcome, status: 0, words: '' },
  });
  t.notOk(askFirst.isNeeded('a'));
  askFirst.ended('a', { kind: 'no-link', words: '', moved: 0 });
  t.notOk(askFirst.isNeeded('a'), 'a lost link says nothing');
  askFirst.ended('a', answered('unauthorized'));
  t.ok(askFirst.isNeeded('a'));
  t.ok(askFirst.isNeeded('b'), 'any other of the destination');
  askFirst.ended('b', answered('delivered'));
  t.notOk(askFirst.isNeeded('c'));
  t.ok(askFirst.isNeeded('a'), 'the one that was refused');
  askFirst.ended('d', answered('dead'));
  t.notOk(askFirst.isNeeded('c'));
  askFirst.ended('a', answered('delivered'));
  t.notOk(askFirst.isNeeded('a'));
  const suspicious = { status: 200, answer: { status: 200, headers: [], body: Buffer.alloc(0) } };
  askFirst.ended('e', { kind: 'no-link', words: '', moved: 0, suspicious });
  t.ok(askFirst.isNeeded('f'));
});
