import t from 'tap';
import { Subscription } from '../../src/control-plane/server/subscription.ts';
import type { TypeSnapshot } from '../../src/control-plane/snapshot.ts';

const snapshot = (version: string, ...names: string[]): TypeSnapshot => ({
  version,
  resources: new Map(names.map((name) => [name, { type_url: '', value: Buffer.alloc(0) }])),
});

t.test('the first request is answered, also when there is nothing', async (t) => {
  const subscription = new Subscription(true);
  t.equal(subscription.owed(snapshot('1')), undefined, 'nothing before it asks');
  t.equal(subscription.request([], ''), 'subscribe');
  t.same(subscription.owed(snapshot('1')), []);
});

t.test('while an answer is due, newer versions are merged into one', async (t) => {
  const subscription = new Subscription(true);
  subscription.request([], '');
  const nonce = subscription.sending('1');
  t.equal(subscription.owed(snapshot('2', 'a')), undefined);
  t.equal(subscription.owed(snapshot('3', 'a', 'b')), undefined);
  t.equal(subscription.request([], nonce), 'ack');
  t.same(subscription.owed(snapshot('3', 'a', 'b')), ['a', 'b']);
});

t.test('a NACK is kept with its words and the version is not sent again', async (t) => {
  const subscription = new Subscription(true);
  subscription.request([], '');
  const nonce = subscription.sending('1');
  t.equal(subscription.request([], nonce, { message: 'no such filter' }), 'nack');
  t.equal(subscription.owed(snapshot('1', 'a')), undefined);
  t.same(subscription.status().nack, { version: '1', message: 'no such filter' });
  t.ok(subscription.settled('1'), 'it has answered');
  t.same(subscription.owed(snapshot('2', 'a')), ['a'], 'a mended version goes out');
});

t.test('an acknowledgement of an older answer changes nothing', async (t) => {
  const subscription = new Subscription(true);
  subscription.request([], '');
  const old = subscription.sending('1');
  subscription.request([], old);
  subscription.sending('2');
  t.equal(subscription.request([], old), 'stale');
  t.notOk(subscription.settled('2'));
});

t.test('a named subscription gets what it names, and is owed an answer when the names change', async (t) => {
  const subscription = new Subscription(false);
  subscription.request(['a'], '');
  t.same(subscription.owed(snapshot('1', 'a', 'b')), ['a']);
  const nonce = subscription.sending('1');
  t.equal(subscription.request(['a', 'b'], nonce), 'ack');
  t.same(subscription.owed(snapshot('1', 'a', 'b')), ['a', 'b']);
});
