// What waits, waits only so long. On a clock of its own, without a wire.

import { mock } from 'node:test';
import t from 'tap';
import {
  ANSWER_PATIENCE_MS,
  type Channel,
  Client,
  RESUME_PATIENCE_MS,
} from '../../src/control-plane/server/client.ts';
import { delta } from '../../src/control-plane/server/delta.ts';
import type { Transport } from '../../src/control-plane/server/transport.ts';
import type { TypeName } from '../../src/control-plane/types.ts';
import { Shelf } from './xds-client.ts';

const scene = (shelf: Shelf) => {
  const written: { type: TypeName; nonce: string }[] = [];
  const channel: Channel = {
    transport: delta as Transport<never> as Channel['transport'],
    free: true,
    stalled: false,
    write: (type, _body, nonce) => written.push({ type, nonce }),
  };
  const client = new Client({ id: 'truck-7' }, 'aggregated delta', shelf);
  return {
    client,
    written,
    ask: (type: TypeName, fields: object = {}) => {
      const request = {
        type_url: '',
        response_nonce: '',
        resource_names_subscribe: [],
        resource_names_unsubscribe: [],
        initial_resource_versions: [],
        ...fields,
      };
      client.request(channel, type, request);
      client.push();
    },
    sent: () => written.splice(0).map(({ type }) => type),
  };
};

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() }));
t.afterEach(() => mock.timers.reset());

t.test('routes do not wait for ever for clusters that do not get warm', async (t) => {
  const shelf = new Shelf();
  const { client, ask, sent } = scene(shelf);
  for (const type of ['cluster', 'route'] as const) shelf.put(type, 'A', '1');
  ask('cluster');
  ask('cluster', { response_nonce: '1' });
  ask('route', { resource_names_subscribe: ['A'] });
  ask('route', { response_nonce: '1' });
  sent();
  for (const type of ['cluster', 'route'] as const) shelf.put(type, 'A', '2');
  client.push();
  t.same(sent(), ['cluster']);
  mock.timers.tick(ANSWER_PATIENCE_MS - 1);
  t.same(sent(), []);
  mock.timers.tick(1);
  t.same(sent(), ['route']);
});

t.test('a hold on the way does not make the routes wait longer', async (t) => {
  const shelf = new Shelf();
  const { client, ask, sent } = scene(shelf);
  for (const type of ['cluster', 'route', 'runtime'] as const) shelf.put(type, 'A', '1');
  for (const type of ['cluster', 'route', 'runtime'] as const) {
    ask(type, type === 'cluster' ? {} : { resource_names_subscribe: ['A'] });
    ask(type, { response_nonce: '1' });
  }
  for (const type of ['cluster', 'route'] as const) shelf.put(type, 'A', '2');
  client.push();
  mock.timers.tick(ANSWER_PATIENCE_MS - 10);
  for (const version of ['2', '3']) {
    shelf.put('runtime', 'A', version);
    client.push('runtime');
  }
  sent();
  mock.timers.tick(10);
  t.same(sent(), ['route']);
});

t.test('a response without an answer does not hold back for ever what would mend it', async (t) => {
  const shelf = new Shelf();
  const { client, ask, sent } = scene(shelf);
  shelf.put('cluster', 'A', '1');
  ask('cluster');
  t.same(sent(), ['cluster']);
  shelf.put('cluster', 'A', '2');
  client.push();
  t.match(client.status().types.cluster!.heldBack, [{ why: /^the answer to version / }]);
  mock.timers.tick(ANSWER_PATIENCE_MS - 1);
  t.same(sent(), []);
  mock.timers.tick(1);
  t.same(sent(), ['cluster']);
});

t.test('who comes back, and asks for no routes, is told all the same what is gone', async (t) => {
  const shelf = new Shelf();
  const { ask, sent } = scene(shelf);
  ask('cluster', { initial_resource_versions: [{ key: 'gone', value: '1' }] });
  t.same(sent(), []);
  mock.timers.tick(RESUME_PATIENCE_MS);
  t.same(sent(), ['cluster']);
});

t.test(
  'a sidecar is up to date when it has its routes; a client that names its listeners needs none',
  async (t) => {
    const shelf = new Shelf();
    shelf.put('listener', 'L', '1');
    const sidecar = scene(shelf);
    t.notOk(sidecar.client.upToDate);
    sidecar.ask('listener');
    sidecar.ask('listener', { response_nonce: '1' });
    t.notOk(sidecar.client.upToDate);
    sidecar.ask('route', { resource_names_subscribe: ['A'] });
    sidecar.ask('route', { response_nonce: '1' });
    t.ok(sidecar.client.upToDate);
    const named = scene(shelf);
    named.ask('listener', { resource_names_subscribe: ['L'] });
    t.notOk(named.client.upToDate);
    named.ask('listener', { response_nonce: '1' });
    t.ok(named.client.upToDate);
  },
);
