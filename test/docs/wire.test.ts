// docs/wire.md is true: what changes between app and destination is on its lists, and nothing else. Seen as raw bytes on both
// sides of a real mesh.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { rawCall, rawDestination } from './raw-destination.ts';

t.setTimeout(60_000);

const ANSWER = [
  'HTTP/1.1 200 Fine Indeed',
  'Server: raw/1',
  'X-Mixed-Case: Yes',
  'Set-Cookie: a=1',
  'Set-Cookie: b=2',
  // A delivery to S3 takes these.
  'ETag: "1"',
  'X-Amz-Request-Id: 1',
  'Content-Length: 2',
  '',
  'ok',
].join('\r\n');

/** Nothing in it is canonical: an empty segment, dots, escapes in lower case, of what needs none, and raw delimiters. */
const PATH = '/a//b/../c%2fd;p=1/%7e+x?q=%20+&r=a=b&&';

const END_TO_END = [
  'X-Custom-Thing: One',
  'x-dup: 1',
  'X-Dup: 2',
  'Accept-Encoding: gzip',
  'User-Agent: raw',
  'Authorization: Bearer abc',
  'Cookie: a=b; c=d',
  'Via: 1.1 me',
  'X-Forwarded-For: 9.9.9.9',
  'X-Forwarded-Proto: https',
  'X-Request-Id: mine',
];
const OF_THE_HOP = ['Connection: close, X-Hop', 'X-Hop: 1', 'Keep-Alive: 5', 'Proxy-Connection: keep-alive'];
const FORGED = [
  ...[
    'Layby-Host: evil.example',
    'Layby-Destination: evil',
    'Layby-Patience: impatient',
    'Layby-No_Link: UF',
  ],
  ...[
    'Layby-Stream: s',
    'Layby-Segment: 0',
    'layby_segment: 1',
    'Layby-Stream-End: whole',
    'Layby-Stream_End: torn',
  ],
  ...['X-Amz-Meta-Layby-Stream: s', 'x-amz-meta-layby-segment: 0', 'x-amz-meta-layby-stream-end: whole'],
  ...['X-Amz-Meta-Layby-Entry: e', 'x_amz_meta_layby_entry: e'],
];

const request = (method: string, path: string, headers: string[], body = '') =>
  [`${method} ${path} HTTP/1.1`, 'Host: Raw.Example:8080', ...headers, '', body].join('\r\n');

const headOf = (raw: string) => raw.slice(0, raw.indexOf('\r\n\r\n')).split('\r\n');
const bodyOf = (raw: string) => raw.slice(raw.indexOf('\r\n\r\n') + 4);
const lowered = (headers: string[]) =>
  headers.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));

const destination = await rawDestination(ANSWER);
t.teardown(() => destination.close());
const upstream = `127.0.0.1:${destination.port}`;
const document = (name: string, more = '', store = '') =>
  [
    'apiVersion: layby.dev/v1alpha1',
    'kind: Destination',
    `metadata: {name: ${name}}`,
    `spec: {hosts: [${name}.example], upstream: {url: "http://${upstream}/base"${more}}${store}}`,
    '',
  ].join('\n');
const layby = await startLayby({
  data: join(testdir(t), 'data'),
  policy: [
    document('raw'),
    document('never', '', ', store: {mode: never}'),
    document('live', '', ', store: {stream: {segment: {bytes: 4KiB}}}'),
    document('signed', ', sign: {aws: {service: s3, region: eu-west-1}}'),
  ].join('---\n'),
  env: { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE0000000', AWS_SECRET_ACCESS_KEY: 'secret' },
});
t.teardown(() => layby.kill9('all'));

/** The request as it arrived: request line, Host, all that the app sent end to end in its order, and `added`, in any place. */
const arrivedAs = (t: Test, raw: string, line: string, added: string[], body: string) => {
  const [first, host, ...headers] = headOf(raw);
  t.equal(first, line);
  t.equal(host, `host: ${upstream}`);
  const expected = lowered(END_TO_END);
  t.same(
    headers.filter((header) => expected.includes(header)),
    expected,
  );
  t.same(headers.filter((header) => !expected.includes(header)).sort(), added.sort());
  t.equal(bodyOf(raw), body);
};

t.test('direct: Host and path prefix, lower-cased names, and layby-host', async (t) => {
  const sent = request('PUT', PATH, [...END_TO_END, ...OF_THE_HOP, ...FORGED, 'Content-Length: 5'], 'hello');
  const answer = await rawCall(layby.outbound, sent);
  arrivedAs(
    t,
    await destination.next(),
    `PUT /base${PATH} HTTP/1.1`,
    ['content-length: 5', 'layby-host: Raw.Example:8080', 'layby-prefix: /base'],
    'hello',
  );
  const [status, ...headers] = headOf(answer);
  t.equal(status, 'HTTP/1.1 200 OK');
  for (const header of ['server: raw/1', 'x-mixed-case: Yes', 'set-cookie: a=1', 'set-cookie: b=2'])
    t.ok(headers.includes(header), header);
  t.equal(bodyOf(answer), 'ok');
});

t.test('direct: Envoy adds x-forwarded-proto where there is none', async (t) => {
  await rawCall(layby.outbound, request('GET', '/', ['Connection: close']));
  t.same(
    headOf(await destination.next())
      .slice(2)
      .sort(),
    ['layby-host: Raw.Example:8080', 'layby-prefix: /base', 'x-forwarded-proto: http'],
  );
});

t.test(
  'direct, of a destination that stores nothing: trailers, te and proxy-authorization arrive',
  async (t) => {
    const headers = ['TE: trailers', 'Proxy-Authorization: Basic x', 'Trailer: X-Sum'];
    const end = ['Transfer-Encoding: chunked', 'Connection: close'];
    const sent = request('POST', '/', [...headers, 'Layby-Entry: mine', ...end]).replace(
      'Raw.Example',
      'never.example',
    );
    await rawCall(layby.outbound, `${sent}5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n`);
    const raw = await destination.next();
    for (const header of lowered(headers)) t.ok(headOf(raw).includes(header), header);
    t.notMatch(headOf(raw).join(), 'layby-entry', 'an app sets nothing under our names');
    t.match(bodyOf(raw), /hello\r\n0\r\nx-sum: 42\r\n\r\n$/);
  },
);

t.test(
  'cut-through: the same, without layby-host, framed anew, and an idempotency-key for POST',
  async (t) => {
    const chunked = ['Transfer-Encoding: chunked'];
    const sent = request('POST', PATH, [...END_TO_END, ...OF_THE_HOP, ...FORGED, ...chunked]);
    await rawCall(layby.outbound, `${sent}2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 42\r\n\r\n`);
    const raw = await destination.next();
    const key = headOf(raw).find((header) => header.startsWith('idempotency-key: '));
    t.match(key, /^idempotency-key: [0-9a-f-]{36}$/);
    arrivedAs(t, raw, `POST /base${PATH} HTTP/1.1`, ['transfer-encoding: chunked', key!], bodyOf(raw));
    t.match(bodyOf(raw), /\r\n0\r\nx-sum: 42\r\n\r\n$/);
    t.equal(bodyOf(raw).replaceAll(/(?:^|\r\n)[0-9a-f]+\r\n|x-sum.*\r\n\r\n$/g, ''), 'hello');
  },
);

t.test('a segment of a stream says what Layby says of it, and nothing that the app said', async (t) => {
  const sent = request('POST', '/s', [...FORGED, 'Transfer-Encoding: chunked', 'Connection: close']).replace(
    'Raw.Example',
    'live.example',
  );
  await rawCall(layby.outbound, `${sent}5\r\nhello\r\n0\r\n\r\n`);
  const ours = headOf(await destination.next()).filter((header) => /layby/.test(header));
  t.match(ours.sort(), [/^layby-segment: 0$/, /^layby-stream-end: whole$/, /^layby-stream: [0-9a-f-]{36}$/]);
  t.equal(ours.length, 3);
});

t.test('replayed: the same, with the length known', async (t) => {
  await layby.link('down');
  const answer = await rawCall(
    layby.outbound,
    `${request('POST', PATH, [...END_TO_END, ...OF_THE_HOP, ...FORGED, 'Transfer-Encoding: chunked'])}5\r\nhello\r\n0\r\n\r\n`,
  );
  const [status, ...headers] = headOf(answer);
  t.equal(status, 'HTTP/1.1 307 Temporary Redirect');
  const id = headers.find((header) => header.startsWith('layby-entry: '))?.slice(13);
  t.ok(headers.includes(`location: /.well-known/layby/entries/${id}`));
  t.ok(headers.includes('cache-control: no-store'));
  t.equal(bodyOf(answer), '');
  await layby.link('auto');
  arrivedAs(
    t,
    await destination.next(),
    `POST /base${PATH} HTTP/1.1`,
    ['content-length: 5', `idempotency-key: ${id}`],
    'hello',
  );
});

t.test('replayed, with trailers: chunked, and they arrive', async (t) => {
  await layby.link('down');
  const sent = request('PUT', '/', ['Transfer-Encoding: chunked', 'Connection: close']);
  await rawCall(layby.outbound, `${sent}5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n`);
  await layby.link('auto');
  const raw = await destination.next();
  t.ok(headOf(raw).includes('transfer-encoding: chunked'));
  t.equal(bodyOf(raw), '5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n');
  await layby.untilQueue((lines) => lines.length === 0);
});

t.test("an app's own idempotency-key stays, and a PUT gets none", async (t) => {
  await layby.link('down');
  const end = ['Content-Length: 1', 'Connection: close'];
  await rawCall(layby.outbound, request('POST', '/1', ['Idempotency-Key: mine', ...end], 'x'));
  await layby.link('auto');
  t.ok(headOf(await destination.next()).includes('idempotency-key: mine'));
  await layby.untilQueue((lines) => lines.length === 0);
  await layby.link('down');
  await rawCall(layby.outbound, request('PUT', '/2', end, 'x'));
  await layby.link('auto');
  t.notMatch(await destination.next(), /idempotency-key/);
  await layby.untilQueue((lines) => lines.length === 0);
});

t.test('signed: authorization and what belongs to it are made anew, direct and replayed', async (t) => {
  const sent = ['Authorization: Bearer abc', 'X-Amz-Date: 20200101T000000Z', 'X-Amz-Meta-A: 1'];
  const put = request('PUT', '/a%2fb+c', [...sent, 'Content-Length: 1', 'Connection: close'], 'x').replace(
    'Raw.Example',
    'signed.example',
  );
  const direct = put.replace('/a%2fb+c', '/plain');
  await rawCall(layby.outbound, direct);
  const first = headOf(await destination.next());
  await layby.link('down');
  await rawCall(layby.outbound, put);
  await layby.link('auto');
  const second = headOf(await destination.next());
  t.equal(first[0], 'PUT /base/plain HTTP/1.1');
  t.equal(second[0], 'PUT /base/a/b%2Bc HTTP/1.1', 'one spelling for each byte, as S3 signs it');
  for (const head of [first, second]) {
    t.ok(head.includes('x-amz-meta-a: 1'));
    t.ok(head.includes('x-amz-content-sha256: UNSIGNED-PAYLOAD'));
    t.equal(head.filter((header) => header.startsWith('authorization: ')).length, 1);
    t.match(head.join('\n'), /authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0000000\//);
    t.notMatch(head.join('\n'), /x-amz-date: 2020|Bearer/);
  }
});
