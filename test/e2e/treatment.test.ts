// What the policy says of requests beyond storing them: paths, headers, upstreams by weight, copies, time-outs, repetitions and
// limits, each seen at the upstream, for calls that go direct and for what was stored.

import { createServer } from 'node:http';
import t from 'tap';
import { freePort } from '../rig/ports.ts';
import { untilDirect } from './scene.ts';
import { mesh, upstreams } from './treatment-scene.ts';

t.setTimeout(120_000);

const cloud = await upstreams(t, 'main', 'other', 'third', 'shadow');
const { answers, arrived, next } = cloud;
/** Nobody is there, until a test is. */
const nobody = await freePort();

const document = (name: string, upstream: string, more: string) =>
  [
    'apiVersion: layby.dev/v1alpha1',
    'kind: Destination',
    `metadata: {name: ${name}}`,
    'spec:',
    `  hosts: [${name}.example]`,
    `  upstream: ${upstream}`,
    more.replaceAll(/^/gm, '  '),
    '',
  ].join('\n');

const { layby, call } = await mesh(
  t,
  [
    document(
      'rules',
      `{url: "${cloud.url('main')}/base"}`,
      `rules:
  - match: {path: {exact: /exact}}
    store: {receipt: accepted, class: urgent}
  - match: {path: {prefix: /pre/}, methods: [POST]}
    upstream: {url: "${cloud.url('other')}/elsewhere"}
  - match: {path: {regex: "/v[0-9]+/(a|b)"}}
    upstream: {url: "${cloud.url('third')}"}
  - match: {path: {prefix: /never}}
    store: {mode: never}
  - match: {path: {prefix: /always}}
    store: {mode: always}
  - match: {path: {prefix: /gone/}}
    upstream: {url: "http://127.0.0.1:${nobody}/there"}
    store: {receipt: accepted}`,
    ),
    document(
      'signed',
      `{url: "${cloud.url('main')}/base", sign: {aws: {service: s3, region: eu-west-1}}}`,
      `headers: {request: {set: ["x-amz-meta-fleet: north"], remove: [X-Debug]}}
rules:
  - match: {path: {prefix: /b/}}
    upstream: {url: "${cloud.url('other')}/ruled", sign: {aws: {service: s3, region: eu-west-2}}}
  - match: {path: {prefix: /base/}}
    upstream: {url: "${cloud.url('third')}"}`,
    ),
    document(
      'apps',
      `{url: "${cloud.url('main')}"}`,
      `rules:
  - match: {apps: {nodes: [truck-8]}}
    store: {mode: never}
  - match: {apps: {nodes: [truck-7], labels: [team=audio]}}
    store: {mode: never}
  - match: {apps: {nodes: [truck-7, truck-9], labels: [team=video]}}
    upstream: {url: "${cloud.url('other')}"}
    store: {receipt: accepted}`,
    ),
    document(
      'stream',
      `{url: "${cloud.url('main')}"}`,
      `store: {stream: {segment: {bytes: 4KiB}}}
rules:
  - match: {path: {exact: /live}}
    upstream: {url: "${cloud.url('other')}"}
    headers: {request: {set: ["X-Rule: live"]}}`,
    ),
    document(
      'patched',
      `{url: "${cloud.url('main')}"}`,
      `envoy:
  cluster: {per_connection_buffer_limit_bytes: 32768}
  route: {response_headers_to_add: [{header: {key: x-route, value: "yes"}}]}
  virtualHost: {response_headers_to_add: [{header: {key: x-host, value: "yes"}}]}`,
    ),
    document(
      'headers',
      `{url: "${cloud.url('main')}"}`,
      `headers:
  request: {set: ["X-Fleet: 100% north", "X-Twice: once"], remove: [X-Debug, Cookie]}
  response: {set: ["X-Seen: yes"], remove: [X-Secret]}
rules:
  - match: {path: {prefix: /plain}}
    headers: {request: {set: ["X-Fleet: plain"]}}`,
    ),
    document(
      'split',
      `{url: "${cloud.url('main')}/base", split: [{url: "${cloud.url('other')}/base", percent: 50}], mirror: {url: "${cloud.url('shadow')}/base"}}`,
      'store: {order: none}',
    ),
    document('slow', `{url: "${cloud.url('main')}"}`, 'answerTimeout: 2s\nreplay: {retry: {max: 200ms}}'),
    document(
      'again',
      `{url: "${cloud.url('main')}"}`,
      'retries: {on: [503], attempts: 2}\nreplay: {retry: {max: 200ms}}',
    ),
    document(
      'limited',
      `{url: "${cloud.url('main')}"}`,
      `rateLimit: {requests: 3, per: 60m}
rules:
  - match: {path: {prefix: /own}}
    rateLimit: {requests: 1, per: 60m}
  - match: {path: {prefix: /shared}}
    store: {class: bulk}`,
    ),
  ].join('---\n'),
  ...['--node', 'truck-7', '--label', 'team=video', '--label', 'tier=edge'],
);

/** What happens to the same call with a link, and without one. */
const ways = ['direct', 'stored'] as const;
const through = async (way: (typeof ways)[number], name: string, act: () => Promise<void>) => {
  if (way === 'stored') await layby.link('down', name);
  await act();
  if (way === 'stored') await layby.link('auto', name);
};

for (const way of ways) {
  t.test(
    `${way}: the first rule that matches path and method says where to, and the rest is as it was`,
    async (t) => {
      const cases: [string, string, string, string, number][] = [
        ['PUT', '/exact', 'main', '/base/exact', 202],
        ['PUT', '/exact?q=1', 'main', '/base/exact?q=1', 202],
        ['PUT', '/exact/', 'main', '/base/exact/', 307],
        ['POST', '/pre/x', 'other', '/elsewhere/pre/x', 307],
        ['PUT', '/pre/x', 'main', '/base/pre/x', 307],
        ['PUT', '/v12/b', 'third', '/v12/b', 307],
        ['PUT', '/v12/b/c', 'main', '/base/v12/b/c', 307],
        ['PUT', '/v1%32/b', 'main', '/base/v1%32/b', 307],
      ];
      await through(way, 'rules', async () => {
        for (const [method, path, , , receipt] of cases) {
          const { status } = await call(method, `http://rules.example${path}`, { body: path });
          t.equal(status, way === 'direct' ? 200 : receipt, `${method} ${path}`);
        }
      });
      for (const [method, path, at, url] of cases)
        t.match(
          await next((one) => one.body === path && one.method === method),
          { at, url },
          `${method} ${path}`,
        );
      t.equal(arrived.length, 0);
    },
  );
}

t.test('what failed over is stored as its rule says, and goes where that says when it can', async (t) => {
  await untilDirect(layby);
  const put = await call('PUT', 'http://rules.example/gone/1?q=2', { body: 'back' });
  t.equal(put.status, 202);
  const server = createServer((request, response) => {
    arrived.push({ at: 'gone', method: '', url: request.url ?? '', headers: request.headers, body: '' });
    response.end();
  }).listen(nobody, '127.0.0.1');
  t.teardown(() => server.close());
  await layby.untilQueue((lines) => lines.length === 0);
  server.closeAllConnections();
  t.equal((await next(({ at }) => at === 'gone')).url, '/there/gone/1?q=2');
});

t.test('a rule for apps is in force for these alone, also for what they stored', async (t) => {
  const once = () =>
    call('PUT', 'http://apps.example/1', { body: 'app', headers: { 'layby-apps': 'forged' } });
  t.equal((await once()).status, 200);
  const sent = await next(({ body }) => body === 'app');
  t.match(sent, { at: 'other' });
  t.match(sent.headers['layby-apps'], /^[0-9a-f]{8}$/);
  await layby.link('down', 'apps');
  t.equal((await once()).status, 202);
  await layby.link('auto', 'apps');
  const stored = await next(({ body }) => body === 'app');
  t.match(stored, { at: 'other' });
  t.notOk(stored.headers['layby-apps']);
});

for (const way of ways) {
  t.test(
    `${way}: edits come before the signature, and the path that is called chooses the rule`,
    async (t) => {
      await through(way, 'signed', async () => {
        await call('PUT', 'http://signed.example/b/1', { body: 'ruled', headers: { 'x-debug': '1' } });
        await call('PUT', 'http://signed.example/c/1', { body: 'whole', headers: { 'x-debug': '1' } });
      });
      const ruled = await next(({ body }) => body === 'ruled');
      t.match(ruled, { at: 'other', url: '/ruled/b/1' });
      t.match(ruled.headers.authorization, /eu-west-2.*SignedHeaders=[^,]*x-amz-meta-fleet/);
      t.notMatch(ruled.headers.authorization, /x-debug/);
      const whole = await next(({ body }) => body === 'whole');
      t.match(whole, { at: 'main', url: '/base/c/1' });
      t.match(whole.headers.authorization, /eu-west-1.*SignedHeaders=[^,]*x-amz-meta-fleet/);
    },
  );
}

t.test('a rule for a stream is one for its segments, whatever their paths', async (t) => {
  const body = async function* () {
    for (let i = 0; i < 3; i++) yield Buffer.alloc(4096, String(i));
  };
  t.equal((await call('POST', 'http://stream.example/live', { body: body() })).status, 307);
  for (const [i, url] of ['/live/000000', '/live/000001', '/live/000002', '/live/000003'].entries()) {
    const segment = await next((one) => one.url === url);
    t.match(segment, { at: 'other', headers: { 'x-rule': 'live', 'layby-segment': String(i) } });
  }
});

t.test("Envoy's own words are merged into what it gets", async (t) => {
  const { status, headers } = await call('GET', 'http://patched.example/1');
  t.same([status, headers['x-route'], headers['x-host']], [200, 'yes', 'yes']);
  await next(({ url }) => url === '/1');
});

t.test('a rule may say that something is never stored, and that something always is', async (t) => {
  const never = await call('PUT', 'http://rules.example/never/1', { body: 'now' });
  t.equal(never.status, 200);
  await next(({ body }) => body === 'now');
  await layby.link('down', 'rules');
  const stopped = await call('PUT', 'http://rules.example/never/2', { body: 'stopped' });
  t.equal(stopped.status, 503, 'what the operator has stopped is neither sent nor stored');
  await layby.link('auto', 'rules');
  const always = await call('PUT', 'http://rules.example/always/2', { body: 'later' });
  t.equal(always.status, 307);
  await next(({ body }) => body === 'later');
});

for (const way of ways) {
  t.test(`${way}: headers are set and taken off`, async (t) => {
    const headers = { 'x-debug': '1', 'x-twice': 'a', 'x-kept': 'k', cookie: 'c=1', 'x-fleet': 'south' };
    await through(way, 'headers', async () => {
      const answer = await call('PUT', 'http://headers.example/1', { headers, body: way });
      t.equal(answer.headers['x-seen'], 'yes', 'of what the app gets, whoever answers');
      t.notOk(answer.headers['x-secret']);
      await call('PUT', 'http://headers.example/plain', { headers, body: `${way} plain` });
    });
    const one = await next(({ body }) => body === way);
    t.match(one.headers, { 'x-fleet': '100% north', 'x-twice': 'once', 'x-kept': 'k' });
    t.notOk(one.headers['x-debug'] ?? one.headers.cookie);
    const other = await next(({ body }) => body === `${way} plain`);
    t.match(other.headers, { 'x-fleet': 'plain', 'x-debug': '1', cookie: 'c=1', 'x-twice': 'a' });
  });
}

for (const way of ways) {
  t.test(`${way}: a part goes elsewhere, and a copy of each to the mirror`, async (t) => {
    const bodies = Array.from({ length: 40 }, (_, i) => `${way} ${i}`);
    await through(way, 'split', async () => {
      await Promise.all(bodies.map((body, i) => call('PUT', `http://split.example/${way}/${i}`, { body })));
    });
    const hosts = new Map<string, number>();
    for (const wanted of bodies) {
      const { at, url, headers } = await next(({ body, at }) => body === wanted && at !== 'shadow');
      t.match(url, /^\/base\//);
      t.equal(`http://${headers.host}`, cloud.url(at));
      hosts.set(at, (hosts.get(at) ?? 0) + 1);
      const copy = await next(({ body, at }) => body === wanted && at === 'shadow');
      t.equal(copy.url, url);
      t.equal(`http://${copy.headers.host}`, cloud.url('shadow'));
    }
    t.same([...hosts.keys()].sort(), ['main', 'other']);
    // Fewer than 8 of 40 have a chance of 1 in 50,000.
    for (const [at, count] of hosts) t.ok(count >= 8, `${at} ${count}`);
    t.comment(JSON.stringify([...hosts]));
    t.equal(arrived.length, 0);
  });
}

t.test('an answer that does not come in time makes a receipt, and 504 of what is not stored', async (t) => {
  answers.push({ status: 200, afterMs: 4_000 });
  const put = await call('PUT', 'http://slow.example/1', { body: 'late' });
  t.equal(put.status, 307);
  await next(({ body }) => body === 'late');
  t.match(await next(({ body }) => body === 'late'), { url: '/1' }, 'and it is sent again');
  await layby.untilQueue((lines) => lines.length === 0);
  await untilDirect(layby);
  answers.push({ status: 200, afterMs: 4_000 });
  t.equal((await call('GET', 'http://slow.example/read')).status, 504);
  await next(({ url }) => url === '/read');
  await layby.untilQueue((lines) => lines.length === 0);
});

t.test('a try of a stored one is given up in time, and comes again', async (t) => {
  answers.push({ status: 200, afterMs: 5_000 });
  await layby.link('down', 'slow');
  await call('PUT', 'http://slow.example/2', { body: 'stored late' });
  const from = performance.now();
  await layby.link('auto', 'slow');
  await next(({ body }) => body === 'stored late');
  await next(({ body }) => body === 'stored late');
  const took = performance.now() - from;
  t.ok(took > 1_900 && took < 4_900, `${took} ms`);
  await layby.untilQueue((lines) => lines.length === 0);
});

t.test('an answer that does not count is asked for again, or the request stored', async (t) => {
  answers.push({ status: 503 }, { status: 503 });
  const got = await call('GET', 'http://again.example/again');
  t.same([got.status, got.headers['x-at']], [200, 'main']);
  t.equal(arrived.length, 3);
  arrived.length = 0;
  answers.push({ status: 503 }, { status: 503 }, { status: 503 });
  const last = await call('GET', 'http://again.example/again');
  t.same([last.status, last.headers['x-at']], [503, 'main'], "in the end the destination's own answer");
  t.equal(arrived.length, 3);
  arrived.length = 0;
  answers.push({ status: 503 });
  const put = await call('PUT', 'http://again.example/3', { body: 'again' });
  t.equal(put.status, 307);
  await next(({ body }) => body === 'again');
  await next(({ body }) => body === 'again');
  answers.push({ status: 500 });
  await layby.untilQueue((lines) => lines.length === 0);
  const other = await call('PUT', 'http://again.example/4', { body: 'once' });
  t.equal(other.status, 500, 'what is not named is an answer');
  arrived.length = 0;
});

t.test(
  'what is over the limit gets 429, with a link and without; a rule has its own, or shares',
  async (t) => {
    const statuses = async (...paths: string[]) => {
      const seen: number[] = [];
      for (const path of paths)
        seen.push((await call('PUT', `http://limited.example${path}`, { body: 'x' })).status);
      return seen;
    };
    t.same(await statuses('/own/1', '/own/2'), [200, 429]);
    await layby.link('down', 'limited');
    t.same(await statuses('/1', '/shared/2', '/3', '/4', '/shared/5'), [307, 307, 307, 429, 429]);
    const refused = await call('PUT', 'http://limited.example/6', { body: 'x' });
    t.match(refused.headers, { 'content-type': 'application/problem+json', 'retry-after': '1' });
    t.match(JSON.parse(refused.text), { type: 'https://layby.dev/problems/rate-limited', status: 429 });
    const page = await call('GET', 'http://limited.example/.well-known/layby/entries/none');
    t.equal(page.status, 404, 'status pages are not counted');
    await layby.link('auto', 'limited');
    await layby.untilQueue((lines) => lines.length === 0);
  },
);
