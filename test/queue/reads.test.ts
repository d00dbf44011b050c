// What an app reads while what it wrote still waits: at the queue itself, with the link down and while a lane drains.

import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const DOWN = { 'layby-host': 'api.example' };

t.test('reads are answered from the store', async (t) => {
  const methods = ['PUT', 'POST', 'DELETE'];
  const destinations = [
    destinationOf('api', { mode: 'failover', order: 'none', methods }),
    destinationOf('plain', { mode: 'failover', order: 'key', methods, reads: 'never' }),
  ];
  // Before the directory is asked for, or it would go first.
  t.teardown(() => at.stop());
  // Nothing is replayed before the test says so.
  const at = await scene(testdir(t), destinations, { remembered: null });
  const { call, put } = at;
  const body = randomBytes(700_000);
  const etag = `"${createHash('sha256').update(body).digest('hex')}"`;
  const type = { 'content-type': 'video/mp4', 'content-language': 'ja' };
  const stored = await call('PUT', '/clip?v=1', body, { ...DOWN, ...type, 'x-other': 'not told' });
  t.equal(stored.status, 307);
  const id = stored.headers['layby-entry'];
  const get = (headers = {}, path = '/clip?v=1', method = 'GET') =>
    call(method, path, undefined, { ...DOWN, ...headers });

  await t.test('a stored PUT: the body, its description, an ETag', async (t) => {
    const whole = await get();
    t.match(whole, {
      status: 200,
      headers: {
        ...type,
        etag,
        'layby-entry': id,
        'content-length': '700000',
        'accept-ranges': 'bytes',
        'cache-control': 'no-store',
      },
    });
    t.notOk('x-other' in whole.headers);
    t.ok(whole.body.equals(body));
    const head = await get({ range: 'bytes=0-1' }, '/clip?v=1', 'HEAD');
    t.match(head, { status: 200, headers: { etag, 'content-length': '700000' } });
    t.equal(head.body.length, 0);
  });

  await t.test('ranges and conditions', async (t) => {
    const part = await get({ range: 'bytes=262140-262150' });
    t.match(part, { status: 206, headers: { 'content-range': 'bytes 262140-262150/700000', ...type } });
    t.ok(part.body.equals(body.subarray(262_140, 262_151)));
    const end = await get({ range: 'bytes=-5' });
    t.match(end, { status: 206, headers: { 'content-range': 'bytes 699995-699999/700000' } });
    t.ok(end.body.equals(body.subarray(-5)));
    t.match(await get({ range: 'bytes=700000-' }), {
      status: 416,
      headers: { 'content-range': 'bytes */700000' },
    });
    for (const list of [etag, '*', `"x", W/${etag}`])
      t.match(await get({ 'if-none-match': list }), { status: 304, headers: { etag } }, list);
    t.match(await get({ 'if-none-match': '"x"' }), { status: 200 });
    t.match(await get({ 'if-match': '"x"' }), { status: 412 });
    t.match(await get({ range: 'bytes=0-1', 'if-range': etag }), { status: 206 });
    t.match(await get({ range: 'bytes=0-1', 'if-range': '"x"' }), { status: 200 });
  });

  await t.test('what is not there, 503 with Retry-After', async (t) => {
    const nothing = {
      status: 503,
      headers: { 'content-type': 'application/problem+json', 'retry-after': '2' },
    };
    t.match(await get({}, '/clip'), nothing, 'another query is another URL');
    t.match(await get({}, '/clip?v=1', 'OPTIONS'), nothing);
    await put('/clip', Buffer.from('x'), 'plain.example', { 'layby-host': 'plain.example' });
    t.match(await get({ host: 'plain.example', 'layby-host': 'plain.example' }, '/clip'), nothing);
    await call('PUT', '/secret', Buffer.from('x'), { ...DOWN, authorization: 'Bearer a' });
    t.match(await get({}, '/secret'), nothing, 'without the credentials of the PUT');
    t.match(await get({ authorization: 'Bearer b' }, '/secret'), nothing);
    t.match(await get({ authorization: 'Bearer a' }, '/secret'), { status: 200 });
    await call('PUT', '/part', Buffer.from('x'), { ...DOWN, 'content-range': 'bytes 5-5/10' });
    t.match(await get({}, '/part'), nothing, 'a part is not the whole');
  });

  await t.test('the newest decides', async (t) => {
    await call('PUT', '/a', Buffer.from('one'), DOWN);
    await call('PUT', '/a', Buffer.from('two'), DOWN);
    t.equal((await get({}, '/a')).text, 'two');
    await call('DELETE', '/a', undefined, DOWN);
    t.match(await get({}, '/a'), { status: 404, headers: { 'content-type': 'application/problem+json' } });
    await call('PUT', '/a', Buffer.alloc(0), DOWN);
    t.match(await get({}, '/a'), { status: 200, headers: { 'content-length': '0' } });
    await call('POST', '/a', Buffer.from('more'), DOWN);
    t.match(await get({}, '/a'), { status: 503 }, 'what a POST made of it, only the destination knows');
  });

  await t.test('while the lane drains, the rest is asked of the destination', async (t) => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    at.link.answer = ({ method, url }) =>
      method === 'PUT' && url === '/clip?v=1' ? gate : Promise.resolve();
    at.link.up = true;
    await at.remember();
    await at.until(() => at.order.includes('PUT /a 0'));
    while ((await at.admin('/v1/queue/status')).text.includes('"failing":true'));
    const path = '/clip?v=1';
    t.match(await call('GET', path), { status: 200, headers: { etag } }, 'it still waits');
    t.match(await call('GET', '/other'), { status: 200, text: '' });
    t.ok(at.order.includes('GET /other 0'), 'answered by the destination');
    release();
    await at.until(() => at.order.includes(`PUT ${path} 700000`));
    while ((await call('GET', path)).headers['layby-entry']);
    t.ok(at.order.includes(`GET ${path} 0`), 'and so is this, once it is there');
  });

  await t.test('an answer that is not HTTP is not a lost link', async (t) => {
    at.link.serve = (_request, response) =>
      void response.writeHead(502, { 'layby-no-link': 'UPE upstream_reset{protocol_error}' }).end();
    t.match(await call('GET', '/odd'), { status: 502, text: /answer-invalid/ });
    at.link.serve = (_request, response) => void response.writeHead(503, { 'layby-no-link': 'UF' }).end();
    t.match(await call('GET', '/odd'), { status: 503, text: /no-link/ });
  });
});
