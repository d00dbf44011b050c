// What is in force for a request, by the rules of its destination.

import t from 'tap';
import {
  appsKey,
  forEntry,
  inForce,
  isIn,
  keysOf,
  mayStore,
  towards,
  upstreamsOf,
} from '../../src/policy/in-force.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import type { Destination } from '../../src/policy/policy.ts';
import { destination as document } from './documents.ts';

const parsed = (more: string): Destination =>
  parsePolicy([{ path: 'p.yaml', text: document({ more }) }]).destinations[0]!;

t.test('the first rule that matches method, path and app is in force, and no other', async (t) => {
  const destination = parsed(
    [
      'store: {ttl: 1h, class: bulk}',
      'answerTimeout: 5s',
      'rules:',
      '  - {match: {path: {exact: /a}, methods: [put]}, store: {class: urgent}}',
      '  - {match: {path: {prefix: /a}}, store: {mode: never}}',
      '  - {match: {path: {regex: "/(?i)x[0-9]{2}"}}, answerTimeout: 2s}',
      '  - {match: {apps: {labels: [team=video]}}, headers: {request: {remove: [Cookie]}}}',
    ].join('\n'),
  );
  const asked = (method: string, path: string, ...apps: string[]) => {
    const { store, answerTimeout, headers } = inForce(destination, { method, path, apps });
    return [store.class, store.mode, store.ttl, answerTimeout, headers?.request.remove.join()];
  };
  const hour = 3_600_000;
  t.same(asked('PUT', '/a'), ['urgent', 'failover', hour, 5_000, undefined], 'what it does not name stays');
  t.same(asked('PUT', '/a?b'), ['urgent', 'failover', hour, 5_000, undefined], 'the query is not looked at');
  t.same(asked('POST', '/a'), ['bulk', 'never', hour, 5_000, undefined]);
  t.same(asked('PUT', '/ab'), ['bulk', 'never', hour, 5_000, undefined]);
  t.same(asked('GET', '/X12'), ['bulk', 'failover', hour, 2_000, undefined]);
  t.same(asked('GET', '/x123'), ['bulk', 'failover', hour, 5_000, undefined], 'a path is matched whole');
  t.same(asked('GET', '/y'), ['bulk', 'failover', hour, 5_000, undefined]);
  const video = appsKey({ labels: ['team=video'] });
  t.same(asked('GET', '/y', video), ['bulk', 'failover', hour, 5_000, 'cookie']);
  t.same(asked('GET', '/y', 'ffffffff'), ['bulk', 'failover', hour, 5_000, undefined]);
});

t.test('an app is in a selection by its node id and all labels, and known by its key alone', async (t) => {
  const app = { node: 'truck-7', labels: ['team=video', 'tier=edge'] };
  t.ok(isIn({ nodes: ['a', 'truck-7'] }, app));
  t.notOk(isIn({ nodes: ['truck-77'] }, app));
  t.ok(isIn({ labels: ['tier=edge', 'team=video'] }, app));
  t.notOk(isIn({ labels: ['team=video', 'team=audio'] }, app));
  t.notOk(isIn({ nodes: ['truck-7'], labels: ['team=audio'] }, app));
  const destination = parsed(
    'rules:\n' +
      [
        '  - {match: {apps: {nodes: [truck-7]}}, answerTimeout: 2s}',
        '  - {match: {apps: {nodes: [truck-8]}}, answerTimeout: 2s}',
        '  - {match: {path: {prefix: /x}, apps: {labels: [team=video]}}, answerTimeout: 2s}',
        '  - {match: {path: {prefix: /y}, apps: {labels: [team=video]}}, answerTimeout: 2s}',
      ].join('\n'),
  );
  t.same(
    keysOf(destination, app),
    [appsKey({ nodes: ['truck-7'] }), appsKey({ labels: ['team=video'] })].sort(),
  );
  t.same(keysOf(destination, { node: 'x', labels: [] }), []);
  t.equal(appsKey({ labels: ['b=1', 'a=1'] }), appsKey({ labels: ['a=1', 'b=1'] }));
});

t.test('a split gives each request one upstream, as often as it says, and always the same', async (t) => {
  const split =
    ', split: [{url: "https://b.example", percent: 10}, {url: "https://c.example", percent: 30}]}';
  const text = document().replace('https://cloud.example}', `https://cloud.example${split}`);
  const destination = parsePolicy([{ path: 'p.yaml', text }]).destinations[0]!;
  const counts = new Map<string, number>();
  for (let i = 0; i < 10_000; i++) {
    const { upstream } = towards(destination, `id ${i}`);
    t.equal(upstream.split, undefined);
    counts.set(upstream.url, (counts.get(upstream.url) ?? 0) + 1);
    if (towards(destination, `id ${i}`).upstream.url !== upstream.url) t.fail(`id ${i}`);
  }
  const near = (url: string, wanted: number) =>
    t.ok(Math.abs(counts.get(url)! - wanted) < 200, `${url}: ${counts.get(url)}`);
  near('https://b.example', 1000);
  near('https://c.example', 3000);
  near('https://cloud.example', 6000);
  t.equal(upstreamsOf(destination).length, 3);
});

t.test('what was stored is judged by what its app called', async (t) => {
  const destination = parsed(
    'rules: [{match: {path: {exact: /stream}, methods: [PUT]}, upstream: {url: "https://streams.example"}}]',
  );
  const to = (entry: Partial<Parameters<typeof forEntry>[1]>) =>
    forEntry(destination, { id: '1', method: 'PUT', url: 'http://h/', ...entry }).upstream.url;
  t.equal(to({ url: 'http://dashcam.example/stream?x' }), 'https://streams.example');
  t.equal(to({ url: 'http://dashcam.example/stream/000001' }), 'https://cloud.example');
  t.equal(
    to({ url: 'http://dashcam.example/stream/000001', judgedPath: '/stream' }),
    'https://streams.example',
  );
});

t.test('it may store where any rule lets it', async (t) => {
  t.notOk(mayStore(parsed('store: {mode: never}')));
  t.ok(mayStore(parsed('store: {mode: never}\nrules: [{match: {}, store: {mode: always}}]')));
});
