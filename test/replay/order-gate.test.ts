import t from 'tap';
import { OrderGate } from '../../src/replay/order-gate.ts';

t.test('a key is taken and given back, once', async (t) => {
  let opened = 0;
  const gate = new OrderGate(() => {
    opened += 1;
  });
  const [one, two] = [gate.enter('k'), gate.enter('k')];
  const committing = gate.commit('k');
  t.notOk(gate.isFree('k'));
  t.notOk(gate.maySend('k'));
  t.ok(gate.isFree('other') && gate.maySend('other'));
  one();
  one();
  t.notOk(gate.maySend('k'), 'two are in flight, one has ended');
  t.equal(opened, 0);
  two();
  t.equal(opened, 1);
  t.ok(gate.maySend('k'), 'what is being stored holds no entry back');
  t.notOk(gate.isFree('k'));
  committing();
  t.ok(gate.isFree('k'));
  t.ok(gate.isEmpty);
  gate.enter('')();
  t.equal(opened, 1, 'without an order key nothing waits');
});

t.test('a key of any length is one key', async (t) => {
  const gate = new OrderGate(() => {});
  const long = `d.example/${'x'.repeat(60_000)}`;
  const release = gate.enter(long);
  t.notOk(gate.maySend(long));
  t.ok(gate.maySend(`${long}y`));
  release();
  t.ok(gate.isEmpty);
});
