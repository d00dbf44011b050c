// An upload to S3 that is stored: taken out of its framing, verified before the receipt, and sent as S3 would have got it.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { crc32 } from '@node-rs/crc32';
import t from 'tap';
import { bucket, framed, isError, md5, stored } from './bucket.ts';

const BODY = randomBytes(300_000);
const CRC = Buffer.alloc(4);
CRC.writeUInt32BE(crc32(BODY));
const CRC32 = CRC.toString('base64');

const FRAMED = {
  'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
  'content-encoding': 'gzip,aws-chunked',
  'x-amz-decoded-content-length': String(BODY.length),
  'x-amz-trailer': 'x-amz-checksum-crc32',
  'x-amz-sdk-checksum-algorithm': 'CRC32',
  authorization: 'AWS4-HMAC-SHA256 Credential=x',
};

const TRAILER = `x-amz-checksum-crc32:${CRC32}\r\n`;

t.test('a framed body arrives as the object, its trailing checksum as a header', async (t) => {
  const s3 = await bucket(t);
  const headers = { ...FRAMED, 'x-amz-meta-a': '1', 'x-amz-tagging': 'a=b', 'if-none-match': '*' };
  const answer = await s3.ask('PUT', '/b/k', { body: framed(BODY, TRAILER), headers });
  t.equal(answer.status, 200, answer.text);
  t.equal(answer.headers.etag, `"${md5(BODY)}"`);
  t.equal(answer.headers['x-amz-checksum-crc32'], CRC32);
  t.equal(answer.text, '');
  s3.link.up = true;
  await s3.until(() => s3.sent.length > 0);
  const [sent] = s3.sent;
  t.ok(sent!.body.equals(BODY));
  t.match(sent!.headers, {
    'content-length': String(BODY.length),
    'content-encoding': 'gzip',
    'x-amz-checksum-crc32': CRC32,
    'x-amz-sdk-checksum-algorithm': 'CRC32',
    'x-amz-meta-a': '1',
    'x-amz-tagging': 'a=b',
    'if-none-match': '*',
  });
  for (const gone of [
    'x-amz-trailer',
    'x-amz-decoded-content-length',
    'x-amz-content-sha256',
    'authorization',
  ])
    t.equal(sent!.headers[gone], undefined, gone);
});

t.test('of a coding that was only the framing nothing is left', async (t) => {
  const s3 = await bucket(t);
  const { 'x-amz-trailer': _, 'x-amz-sdk-checksum-algorithm': __, ...headers } = FRAMED;
  await s3.ask('PUT', '/b/k', {
    body: framed(BODY),
    headers: { ...headers, 'content-encoding': 'AWS-chunked' },
  });
  s3.link.up = true;
  await s3.until(() => s3.sent.length > 0);
  t.equal(s3.sent[0]!.headers['content-encoding'], undefined);
  t.ok(s3.sent[0]!.body.equals(BODY));
});

const WRONG: Record<string, [code: string, body: Buffer, headers: Record<string, string>]> = {
  'a trailing checksum that does not match': [
    'BadDigest',
    framed(BODY, 'x-amz-checksum-crc32:AAAAAA==\r\n'),
    FRAMED,
  ],
  'a trailer that was announced and does not come': ['MalformedTrailerError', framed(BODY), FRAMED],
  'a trailer that was not announced': [
    'MalformedTrailerError',
    framed(BODY, `${TRAILER}x-amz-meta-b:1\r\n`),
    FRAMED,
  ],
  'fewer bytes than the decoded length': [
    'IncompleteBody',
    framed(BODY, TRAILER),
    { ...FRAMED, 'x-amz-decoded-content-length': '300001' },
  ],
  'more bytes than the decoded length': [
    'IncompleteBody',
    framed(BODY, TRAILER),
    { ...FRAMED, 'x-amz-decoded-content-length': '299999' },
  ],
  'a decoded length that is no number': [
    'InvalidArgument',
    framed(BODY, TRAILER),
    { ...FRAMED, 'x-amz-decoded-content-length': '-1' },
  ],
  'no frames where they were announced': ['InvalidRequest', BODY, FRAMED],
  'frames without an end': ['IncompleteBody', framed(BODY).subarray(0, -5), FRAMED],
  'a wrong Content-MD5': [
    'BadDigest',
    BODY,
    { 'content-md5': Buffer.from(md5('x'), 'hex').toString('base64') },
  ],
  'a Content-MD5 that is none': ['InvalidDigest', BODY, { 'content-md5': 'abc' }],
  'a wrong hash of the payload': [
    'XAmzContentSHA256Mismatch',
    BODY,
    { 'x-amz-content-sha256': 'a'.repeat(64) },
  ],
  'a wrong checksum': ['BadDigest', BODY, { 'x-amz-checksum-crc64nvme': 'AAAAAAAAAAA=' }],
};

for (const mode of ['always', 'failover'] as const)
  t.test(`mode ${mode}: what is wrong is refused in S3's words, and neither stored nor sent`, async (t) => {
    const s3 = await bucket(t, { mode });
    s3.link.up = mode === 'failover';
    for (const [name, [code, body, headers]] of Object.entries(WRONG)) {
      const answer = await s3.ask('PUT', '/b/k', { body, headers });
      isError(t, answer, 400, code);
      t.same(await stored(s3), [], name);
      t.same(s3.sent, [], `${name}: not sent as if it were whole`);
    }
    t.equal((await s3.ask('PUT', '/b/k', { body: BODY })).status, 200, 'the next one is taken');
  });

t.test('with a link a framed body is cut through as the object, its checksum verified here', async (t) => {
  const s3 = await bucket(t, { mode: 'failover' });
  s3.link.up = true;
  const answer = await s3.ask('PUT', '/b/k', { body: framed(BODY, TRAILER), headers: FRAMED });
  t.equal(answer.status, 200);
  t.equal(answer.headers['layby-entry'], undefined, 'it was the destination that answered');
  const [sent] = s3.sent;
  t.ok(sent!.body.equals(BODY));
  t.equal(sent!.headers['content-length'], String(BODY.length));
  t.equal(sent!.headers['content-encoding'], 'gzip');
  t.equal(sent!.headers['x-amz-sdk-checksum-algorithm'], undefined, 'S3 would miss the checksum it names');
});

t.test('lost on the way, a framed body is stored as the object, with its checksum', async (t) => {
  const s3 = await bucket(t, { mode: 'failover' });
  const answer = await s3.ask('PUT', '/b/k', { body: framed(BODY, TRAILER), headers: FRAMED });
  t.equal(answer.status, 200);
  t.ok(answer.headers['layby-entry']);
  s3.link.up = true;
  await s3.until(() => s3.sent.length > 0);
  t.ok(s3.sent[0]!.body.equals(BODY));
  t.equal(s3.sent[0]!.headers['x-amz-checksum-crc32'], CRC32);
});

t.test('deletions, tags and ACLs are stored as they are', async (t) => {
  const s3 = await bucket(t);
  t.equal((await s3.ask('DELETE', '/b/k')).status, 204);
  t.equal(
    (await s3.ask('PUT', '/b/k?tagging', { body: Buffer.from('<Tagging><TagSet/></Tagging>') })).status,
    200,
  );
  t.equal((await s3.ask('DELETE', '/b/k?versionId=7')).status, 204);
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 3);
  t.same(
    s3.sent.map(({ method, path }) => `${method} ${path}`),
    ['DELETE /b/k', 'PUT /b/k?tagging', 'DELETE /b/k?versionId=7'],
  );
});

t.test('two spellings of one object are one object, and keep their order', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/a%7eb+c', { body: Buffer.from('1') });
  await s3.ask('PUT', '/b/a~b%2bc', { body: Buffer.from('2') });
  const answer = await s3.ask('GET', '/b/a%7Eb%2Bc');
  t.equal(answer.text, '2');
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 2);
  t.same(
    s3.sent.map(({ path, body }) => `${path} ${body}`),
    ['/b/a~b%2Bc 1', '/b/a~b%2Bc 2'],
  );
});

t.test('several objects are deleted by one request: each on its own, in its order', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/sp%20a', { body: Buffer.from('1') });
  const body = Buffer.from(
    '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>sp a</Key></Object><Object><Key>a&amp;b//あ</Key><VersionId>v 1</VersionId></Object></Delete>',
  );
  const answer = await s3.ask('POST', '/b?delete', {
    body,
    headers: { 'content-md5': Buffer.from(md5(body), 'hex').toString('base64') },
  });
  t.equal(answer.status, 200, answer.text);
  t.match(
    answer.text,
    '<Deleted><Key>sp a</Key></Deleted><Deleted><Key>a&amp;b//あ</Key><VersionId>v 1</VersionId></Deleted>',
  );
  isError(t, await s3.ask('GET', '/b/sp%20a'), 404, 'NoSuchKey');
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 3);
  const all = s3.sent.map(({ method, path }) => `${method} ${path}`);
  t.same(
    all.filter((line) => line.endsWith('/sp%20a')),
    ['PUT /b/sp%20a', 'DELETE /b/sp%20a'],
  );
  t.ok(all.includes('DELETE /b/a%26b//%E3%81%82?versionId=v%201'));

  const quiet = Buffer.from('<Delete><Quiet>true</Quiet><Object><Key>x</Key></Object></Delete>');
  t.notMatch((await s3.ask('POST', '/b?delete', { body: quiet })).text, '<Deleted>');
  for (const bad of ['', '<Delete/>', '<Delete><Object/></Delete>', '<a>', '<Delete><Object><Key>'])
    isError(t, await s3.ask('POST', '/b?delete', { body: Buffer.from(bad) }), 400, 'MalformedXML');
});

t.test('what only S3 can do is refused without a link', async (t) => {
  const s3 = await bucket(t, { methods: ['PUT'] });
  const copy = { headers: { 'x-amz-copy-source': '/b/other' } };
  isError(t, await s3.ask('PUT', '/b/k', copy), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('GET', '/b/k?tagging'), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('POST', '/b/k?restore', { body: Buffer.from('<a/>') }), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('GET', '/'), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('DELETE', '/b/k'), 503, 'ServiceUnavailable');
  t.same(await stored(s3), []);
});

t.test("what finds no room is refused in S3's words", async (t) => {
  const s3 = await bucket(t, { quota: 100_000 });
  isError(t, await s3.ask('PUT', '/b/k', { body: BODY }), 507, 'InsufficientStorage');
  t.equal((await s3.ask('PUT', '/b/k', { body: BODY.subarray(0, 1000) })).status, 200);
});

t.test('nothing is made of an empty framed body before it is verified', async (t) => {
  const s3 = await bucket(t, { mode: 'failover' });
  s3.link.up = true;
  const put = (trailers: string) => {
    const body = framed(Buffer.alloc(0), trailers);
    const app = request({
      ...{ socketPath: s3.socket, method: 'PUT', path: '/b/empty' },
      headers: {
        ...{ ...FRAMED, host: 's3.example', 'content-length': body.length },
        'x-amz-decoded-content-length': '0',
      },
    });
    const status = once(app, 'response').then(([response]) => {
      response.resume();
      return response.statusCode as number;
    });
    app.flushHeaders();
    return { status, end: () => app.end(body) };
  };
  const [wrong, right] = [put(TRAILER), put('x-amz-checksum-crc32:AAAAAA==\r\n')];
  t.match(await s3.ask('PUT', '/b/other', { body: BODY }), { status: 200 });
  t.same(s3.order, [`PUT /b/other ${BODY.length}`], 'their heads have come before');
  wrong.end();
  t.equal(await wrong.status, 400);
  right.end();
  t.equal(await right.status, 200);
  await s3.until(() => s3.order.length > 1);
  t.same(s3.order, [`PUT /b/other ${BODY.length}`, 'PUT /b/empty 0']);
});

t.test(
  'a part with its checksum behind it is passed on with the checksum in front, and verified before',
  async (t) => {
    const s3 = await bucket(t, { mode: 'failover' });
    s3.link.up = true;
    s3.answer.headers = { etag: '"of-S3"' };
    const part = '/b/k?partNumber=1&uploadId=of-S3';
    const answer = await s3.ask('PUT', part, { body: framed(BODY, TRAILER), headers: FRAMED });
    t.match(answer, { status: 200, headers: { etag: '"of-S3"', 'layby-entry': undefined } });
    t.match(s3.sent, [
      {
        path: part,
        headers: {
          'layby-patience': 'impatient',
          'content-length': String(BODY.length),
          'x-amz-checksum-crc32': CRC32,
          'x-amz-sdk-checksum-algorithm': 'CRC32',
        },
      },
    ]);
    t.ok(s3.sent[0]!.body.equals(BODY));

    const wrong = framed(BODY, 'x-amz-checksum-crc32:AAAAAA==\r\n');
    isError(t, await s3.ask('PUT', part, { body: wrong, headers: FRAMED }), 400, 'BadDigest');
    t.equal(s3.sent.length, 1);

    s3.link.refuses = ({ headers }) => headers['layby-patience'] !== undefined;
    const kept = await s3.ask('PUT', part, { body: framed(BODY, TRAILER), headers: FRAMED });
    t.match(kept, { status: 200, headers: { etag: `"${md5(BODY)}"` } });
    t.ok(kept.headers['layby-entry']);
    await s3.until(() => s3.sent.length === 2);
    t.match(s3.sent[1], { path: part, headers: { 'x-amz-checksum-crc32': CRC32 } });
    t.same(s3.sent[1]!.body, BODY);
  },
);
