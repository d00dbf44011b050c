// Law 3 at the queue itself: what goes straight on while a lane drains, and what waits for it.

import t, { type Test } from 'tap';
import { drainingScene } from './draining.ts';
import { destinationOf } from './scene.ts';

const draining = (t: Test, order: 'key' | 'none' | 'strict') =>
  drainingScene(t, destinationOf('api', { mode: 'failover', order, methods: ['PUT', 'DELETE'] }));

t.test(
  'order key: while a lane drains, a resource with nothing stored is answered by the destination',
  async (t) => {
    const { call, order, answer, until } = await draining(t, 'key');
    t.match(await call('PUT', '/new', Buffer.from('12')), { status: 200 });
    t.match(await call('DELETE', '/new'), { status: 200 });
    t.match(
      await call('PUT', '/slow?x', Buffer.from('123')),
      { status: 307 },
      'the same resource waits its turn',
    );
    t.match(await call('DELETE', '/slow'), { status: 307 }, 'and the next one behind it');
    t.same(order, ['PUT /first 1', 'PUT /new 2', 'DELETE /new 0'], 'nothing overtook /slow');
    answer('/slow');
    await until(() => order.length === 6);
    t.same(order.slice(3), ['PUT /slow 3', 'PUT /slow?x 3', 'DELETE /slow 0']);
  },
);

t.test('order none: only a failing link stores, whatever waits', async (t) => {
  const { call, order, answer, drained } = await draining(t, 'none');
  t.match(await call('PUT', '/slow?x', Buffer.from('123')), { status: 200 });
  t.same(order, ['PUT /first 1', 'PUT /slow?x 3']);
  answer('/slow');
  await drained();
});

t.test('order strict: nothing goes on while anything waits', async (t) => {
  const { call, order, answer, until } = await draining(t, 'strict');
  t.match(await call('PUT', '/new', Buffer.from('12')), { status: 307 });
  t.same(order, ['PUT /first 1']);
  answer('/slow');
  await until(() => order.length === 3);
});

t.test(
  'what comes while another of its resource goes through is stored, and sent when that is over',
  async (t) => {
    const { call, order, gate, begun, answer, until, admin } = await draining(t, 'key');
    gate('/a?1');
    const first = call('PUT', '/a?1', Buffer.from('1'));
    await begun('/a?1');
    const receipts = await Promise.all([
      call('PUT', '/a?2', Buffer.from('22')),
      call('DELETE', '/a?3'),
      call('PUT', '/b', Buffer.from('b')),
    ]);
    t.same(
      receipts.map(({ status }) => status),
      [307, 307, 200],
    );
    answer('/slow');
    await until(() => order.includes('PUT /slow 3'));
    // The lane has nothing else to send now; what may go has been asked for by the time that its oldest is gone.
    while ((await admin('/v1/queue/status')).text.includes('"entries":3'));
    t.same(
      order,
      ['PUT /first 1', 'PUT /b 1', 'PUT /slow 3'],
      'neither was sent before the first was answered',
    );
    answer('/a?1');
    t.equal((await first).status, 200);
    await until(() => order.length === 6);
    t.same(order.slice(3), ['PUT /a?1 1', 'PUT /a?2 2', 'DELETE /a?3 0']);
  },
);

t.test('two that come together for one resource do not both go through', async (t) => {
  const { call, order, answer, until } = await draining(t, 'key');
  const statuses = (
    await Promise.all(Array.from({ length: 20 }, (_, i) => call('PUT', `/a?${i}`, Buffer.alloc(i))))
  ).map(({ status }) => status);
  t.ok(statuses.includes(200), 'one goes through');
  t.ok(statuses.includes(307), 'others wait');
  answer('/slow');
  await until(() => order.length === 22);
  t.equal(new Set(order).size, 22, 'each came once');
});

t.test('one that breaks off is stored behind what came meanwhile, and nothing is sent before', async (t) => {
  const { call, order, link, gate, begun, answer, until } = await draining(t, 'key');
  gate('/a?1');
  const first = call('PUT', '/a?1', Buffer.from('1'));
  await begun('/a?1');
  t.equal((await call('PUT', '/a?2', Buffer.from('22'))).status, 307);
  link.cut = true;
  answer('/a?1');
  t.equal((await first).status, 307);
  link.cut = false;
  answer('/slow');
  await until(() => order.length === 4);
  t.same(order, ['PUT /first 1', 'PUT /slow 3', 'PUT /a?2 2', 'PUT /a?1 1']);
});
