// Online Layby is not there: the destination's own answer, the app's own request, and nothing through the queue. And bytes go
// only where the policy says (law 4).

import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { noRoad } from '../rig/namespaces.ts';
import { Oracle } from '../rig/oracle.ts';
import type { Arrival } from '../rig/oracle-protocol.ts';
import { headersOf, makeScene, outcomesAtTheQueue, randomFile } from './scene.ts';

t.setTimeout(290_000);

/** Names and values that belong to the request itself, in order, sorted by name: a proxy may regroup different names. */
const endToEnd = (arrival: Arrival): string[] => {
  const lines: string[] = [];
  for (let at = 0; at < arrival.rawHeaders.length; at += 2) {
    const name = arrival.rawHeaders[at]!.toLowerCase();
    if (!PER_HOP.has(name)) lines.push(`${name}: ${arrival.rawHeaders[at + 1]}`);
  }
  return lines.sort();
};
const PER_HOP = new Set([
  'host',
  'connection',
  'expect',
  'transfer-encoding',
  'content-length',
  'keep-alive',
]);

/** All that a call gets on its way through Layby. A new one must be put here, and in the docs. */
const ADDED = ['layby-host: api.example', 'x-forwarded-proto: http'];

t.test('online', { skip: noRoad }, async (t) => {
  const scene = await makeScene(t, {
    destinations: (oracle) => [
      { name: 'api', hosts: ['api.example', '*.wild.example'], url: oracle.url },
      { name: 'deep', url: `${oracle.url}/v1/deep/` },
      { name: 'never', url: oracle.url, store: { mode: 'never' } },
    ],
  });
  const { road, oracle, layby, call } = scene;
  const elsewhere = await Oracle.start({ road, file: join(scene.dir, 'elsewhere.jsonl') });
  t.teardown(() => elsewhere.stop());
  const last = async () => (await oracle.requests()).at(-1)!;

  const requests: { what: string; path?: string; args?: string[]; headers?: string[]; body?: string }[] = [
    { what: 'a plain GET' },
    { what: 'a HEAD', args: ['-I'] },
    { what: 'a DELETE without a body', args: ['-X', 'DELETE'] },
    { what: 'an OPTIONS', args: ['-X', 'OPTIONS'] },
    { what: 'a PATCH', args: ['-X', 'PATCH'], body: '{"a":1}' },
    { what: 'a PUT of nothing', args: ['-X', 'PUT'], body: '' },
    { what: 'a method of its own', args: ['-X', 'PROPFIND'] },
    { what: 'a PUT of 900 KB', args: ['-X', 'PUT'], body: 'x'.repeat(900_000) },
    { what: 'a POST with Expect', body: 'x'.repeat(2000), headers: ['Expect: 100-continue'] },
    {
      what: 'a path with everything in it',
      path: "/a//b/../c/./%2F%2e%7E%e3%81%82~!$&'()*+,;=:@?q=%20+&&=%2B/?#",
    },
    { what: 'a query without a path', path: '?x=1' },
    {
      what: 'headers of every kind',
      headers: ['X-Twice: 1', 'X-Twice: 2', 'X-Empty;', 'X-Odd: a,  b;"c"', 'Cookie: a=b; c=d'],
    },
    {
      what: 'credentials',
      headers: ['Authorization: Bearer abc', 'Proxy-Authorization: Basic x', 'Cookie: s=1'],
    },
    {
      what: 'what proxies set',
      headers: ['X-Forwarded-For: 1.2.3.4', 'X-Request-Id: mine', 'Via: 1.1 me', 'X-Real-IP: ::1'],
    },
    {
      what: 'ranges and conditions',
      headers: ['Range: bytes=0-9', 'If-None-Match: "x"', 'If-Modified-Since: never'],
    },
  ];
  for (const { what, path = '/a', args = [], headers = [], body } of requests) {
    await t.test(`${what} arrives as it was sent`, async (t) => {
      const options = { args, headers, ...(body === undefined ? {} : { body }), maxTime: 10 };
      await curl(`${oracle.url}${path}`, { road, ...options, headers: ['Host: api.example', ...headers] });
      const straight = await last();
      await call(`http://api.example${path}`, options);
      const through = await last();
      t.equal(through.n, straight.n + 1);
      t.same([through.method, through.path], [straight.method, straight.path]);
      t.same([through.bytes, through.sha256], [straight.bytes, straight.sha256]);
      const came = new Map(Object.entries({ a: endToEnd(through), b: endToEnd(straight) }));
      const added = came.get('a')!.filter((line) => !came.get('b')!.includes(line));
      const lost = came.get('b')!.filter((line) => !came.get('a')!.includes(line));
      t.same(lost, []);
      // So that a repetition after a lost answer can be told.
      const keyed =
        ['POST', 'PATCH'].includes(through.method) && headersOf(straight, 'idempotency-key').length === 0;
      const named = added.map((line) => line.replace(/[0-9a-f-]{36}$/, 'UUID'));
      t.same(named.sort(), [...ADDED, ...(keyed ? ['idempotency-key: UUID'] : [])].sort());
      t.same(headersOf(through, 'host'), [new URL(oracle.url).host], 'the host is the one of the upstream');
    });
  }

  await t.test('the answer is the own one of the destination', async (t) => {
    for (const answer of [
      { status: 200, body: 'fine', headers: { etag: '"1"', server: 'own/1', 'x-own': 'a, b' } },
      { status: 201, headers: { location: '/made', 'set-cookie': 'a=b' } },
      { status: 204 },
      { status: 304, headers: { etag: '"2"' } },
      { status: 307, headers: { location: 'http://other.example/' } },
      { status: 404, body: 'no', headers: { 'retry-after': '7' } },
      { status: 418, body: 'tea' },
      { status: 500, body: 'broken' },
      { status: 503, body: 'later', headers: { 'retry-after': '1' } },
    ]) {
      await oracle.answer({ path: '/answer', ...answer });
      const options = { method: 'PUT', body: 'x', maxTime: 10 };
      const straight = await curl(`${oracle.url}/answer`, { road, ...options });
      const before = (await oracle.requests()).length;
      const through = await call('http://api.example/answer', options);
      const plain = ({ rawHeaders }: typeof straight) =>
        rawHeaders
          .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
          .filter((line) => !/^(date|connection|keep-alive):/.test(line))
          .sort();
      t.equal(through.status, answer.status);
      t.same(plain(through), plain(straight), `headers of ${answer.status}`);
      t.same(through.body, straight.body);
      t.equal(
        (await oracle.requests()).length,
        before + 1,
        'an error of the destination is an answer, tried once',
      );
    }
    await oracle.reset();
  });

  await t.test('hosts match whatever port and case, and below a wildcard at any depth', async (t) => {
    for (const host of [
      ...['api.example', 'api.example:15001', 'api.example:80', 'API.Example'],
      ...['a.wild.example', 'a.b.wild.example:8080'],
    ]) {
      const answer = await call('http://api.example/host', { headers: [`Host: ${host}`] });
      t.equal(answer.status, 200, host);
      t.same(headersOf(await last(), 'layby-host'), [host]);
    }
    const before = (await oracle.requests()).length;
    for (const host of [
      'other.example',
      'wild.example',
      'api.example.com',
      'xapi.example',
      'localhost',
      '',
    ]) {
      const answer = await call('http://api.example/host', {
        headers: host === '' ? ['Host;'] : [`Host: ${host}`],
      });
      t.ok(
        host === '' ? [400, 421].includes(answer.status) : answer.status === 421,
        `"${host}": ${answer.status}`,
      );
      t.equal(answer.headers.get('layby-entry'), undefined);
    }
    t.equal((await oracle.requests()).length, before, 'and none of them arrived');
  });

  await t.test('as http_proxy it is the same', async (t) => {
    const answer = await curl('http://api.example:8080/proxied?x=1', {
      road,
      proxy: layby.outbound,
      maxTime: 10,
    });
    t.equal(answer.status, 200);
    t.match(await last(), { path: '/proxied?x=1' });
  });

  await t.test('the path of the upstream goes before the path of the app', async (t) => {
    await call('http://deep.example/a/b?c=d');
    t.equal((await last()).path, '/v1/deep/a/b?c=d');
    await call('http://deep.example/');
    t.equal((await last()).path, '/v1/deep/');
  });

  t.same(await outcomesAtTheQueue(layby), {}, 'none of all that came to the queue');

  await t.test('bytes go only where the policy says, whatever the app says', async (t) => {
    const there = new URL(elsewhere.url).host;
    const before = (await oracle.requests()).length;
    const refused = { maxTime: 5, args: ['--http1.1'] };
    const sent = [
      await call(`${elsewhere.url}/`, refused),
      await curl(`${elsewhere.url}/`, { road, proxy: layby.outbound, ...refused }),
      await curl(`${elsewhere.url}/`, { road, proxy: layby.outbound, ...refused, args: ['--proxytunnel'] }),
      await curl(`${elsewhere.url}/`, {
        road,
        proxy: layby.outbound,
        headers: ['Host: api.example'],
        ...refused,
      }),
      await call('http://api.example/', { ...refused, headers: [`Host: user@${there}`] }),
      await call('http://api.example/', { ...refused, headers: [`Host: api.example@${there}`] }),
      await call('http://api.example/', {
        ...refused,
        headers: [`Host: ${there}`, 'Layby-Host: api.example'],
      }),
      await call('http://api.example/', {
        ...refused,
        headers: [`Host: ${there}`, 'Layby-Destination: api'],
      }),
      await call('http://api.example/', {
        ...refused,
        headers: [`Host: ${there}`, 'X-Envoy-Original-Dst-Host: api'],
      }),
    ];
    t.same(
      sent.filter(({ status }) => status === 200 || status === 307),
      [],
    );
    t.same((await oracle.requests()).length, before, 'nothing at the destination');
    // These name a destination, and go there and nowhere else.
    await call('http://api.example/named', { headers: [`Layby-Host: ${there}`, 'Layby-Destination: never'] });
    t.match(await last(), { path: '/named' });
    t.same(headersOf(await last(), 'layby-host'), ['api.example']);
    t.same(headersOf(await last(), 'layby-destination'), []);
    await call('http://never.example/named', {
      headers: [`Layby-Host: ${there}`, 'Layby-Destination: deep'],
    });
    t.same(headersOf(await last(), 'layby-host'), ['never.example']);
    t.same(headersOf(await last(), 'layby-destination'), []);
    const both = ['Transfer-Encoding: chunked', 'Content-Length: 5'];
    const smuggled = await call('http://api.example/smuggled', {
      ...refused,
      method: 'POST',
      body: 'a',
      headers: both,
    });
    t.ok(smuggled.status === 400 || (await last()).bytes === 1, `two framings: ${smuggled.status}`);
    t.same(await elsewhere.requests(), [], 'nothing elsewhere');
  });

  await t.test('bodies that Envoy could not send twice pass the queue, and leave no trace', async (t) => {
    const file = await randomFile(scene.dir, 'clip', 3_000_000);
    await oracle.answer({ path: '/big', status: 201, body: 'taken', headers: { etag: '"e"', 'x-own': 'a' } });
    const known = await call('http://api.example/big?x=1', { method: 'PUT', body: { file: file.path } });
    t.match(known, { status: 201, body: Buffer.from('taken') });
    t.match([known.headers.get('x-own'), known.headers.get('layby-entry')], ['a', undefined]);
    t.match(await last(), { method: 'PUT', path: '/big?x=1', bytes: 3_000_000, sha256: file.sha256 });
    const pieces = (async function* () {
      for (const piece of ['one, ', 'two, ', 'three']) yield Buffer.from(piece);
    })();
    const unknown = await call('http://api.example/big', { method: 'POST', body: { stream: pieces } });
    t.match(unknown, { status: 201, body: Buffer.from('taken') });
    t.match(await last(), { method: 'POST', bytes: 15 });
    t.same(await outcomesAtTheQueue(layby), { cut_through: 2 });
    t.same(await layby.queue(), []);
    await oracle.reset();
  });

  await t.test('a destination that is never to be stored for takes any body straight', async (t) => {
    const before = await outcomesAtTheQueue(layby);
    const file = await randomFile(scene.dir, 'direct', 3_000_000);
    const answer = await call('http://never.example/big', { method: 'PUT', body: { file: file.path } });
    t.equal(answer.status, 200);
    t.match(await last(), { bytes: 3_000_000, sha256: file.sha256 });
    t.same(await outcomesAtTheQueue(layby), before);
  });
});
