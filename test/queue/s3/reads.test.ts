// Without a link S3's reads are answered of what waits, and say so.

import { crc32 } from '@node-rs/crc32';
import t from 'tap';
import { testdir } from '../../rig/testdir.ts';
import { drainingScene } from '../draining.ts';
import { type Answer, scene } from '../scene.ts';
import { bucket, bucketOf, isError, md5, xml } from './bucket.ts';

const BODY = Buffer.from('0123456789');

t.test('an object that waits is there as S3 would have it', async (t) => {
  const s3 = await bucket(t);
  const headers = {
    'content-type': 'video/mp4',
    'x-amz-meta-Cam': 'front',
    'cache-control': 'no-cache',
    'x-other': '1',
  };
  const { headers: receipt } = await s3.ask('PUT', '/b/clip', { body: BODY, headers });
  for (const method of ['GET', 'HEAD']) {
    const answer = await s3.ask(method, '/b/clip?x-id=GetObject');
    t.equal(answer.status, 200);
    t.equal(answer.text, method === 'GET' ? '0123456789' : '');
    t.match(answer.headers, {
      etag: `"${md5(BODY)}"`,
      'content-length': '10',
      'content-type': 'video/mp4',
      'x-amz-meta-cam': 'front',
      'cache-control': 'no-cache',
      'accept-ranges': 'bytes',
      'layby-entry': receipt['layby-entry'],
      'layby-answer': 'pending',
    });
    t.ok(Date.parse(answer.headers['last-modified']!) > Date.now() - 60_000);
    t.equal(answer.headers['x-other'], undefined);
  }
  const { headers: overridden } = await s3.ask('GET', '/b/clip?response-content-type=text%2Fplain');
  t.equal(overridden['content-type'], 'text/plain');
  await s3.ask('PUT', '/b/clip', { body: Buffer.from('new') });
  const last = await s3.ask('GET', '/b/clip');
  t.equal(last.text, 'new', 'the last one counts');
  t.equal(last.headers['content-type'], 'binary/octet-stream');
  await s3.ask('PUT', '/b/clip?tagging', { body: Buffer.from('<Tagging><TagSet/></Tagging>') });
  t.equal((await s3.ask('GET', '/b/clip')).text, 'new', 'tags are no object');
  await s3.restart();
  t.equal((await s3.ask('GET', '/b/clip')).text, 'new', 'also after a restart');
});

t.test('ranges', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/k', { body: BODY });
  for (const [range, status, text, content] of [
    ['bytes=0-0', 206, '0', 'bytes 0-0/10'],
    ['bytes=3-', 206, '3456789', 'bytes 3-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-30', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
    ['bytes=1-2,4-5', 200, '0123456789', undefined],
    ['bytes=5-4', 200, '0123456789', undefined],
    ['lines=1-2', 200, '0123456789', undefined],
  ] as const) {
    const answer = await s3.ask('GET', '/b/k', { headers: { range } });
    t.same([answer.status, answer.text, answer.headers['content-range']], [status, text, content], range);
    t.equal(answer.headers['content-length'], String(text.length));
  }
  for (const range of ['bytes=10-', 'bytes=10-20', 'bytes=-0'])
    isError(t, await s3.ask('GET', '/b/k', { headers: { range } }), 416, 'InvalidRange');
});

t.test('a checksum of the whole is beside the whole alone', async (t) => {
  const s3 = await bucket(t);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(BODY));
  const base64 = sum.toString('base64');
  await s3.ask('PUT', '/b/k', { body: BODY, headers: { 'x-amz-checksum-crc32': base64 } });
  const asked = { 'x-amz-checksum-mode': 'ENABLED' };
  const told = ({ headers }: Answer) => [headers['x-amz-checksum-crc32'], headers['x-amz-checksum-type']];
  for (const method of ['GET', 'HEAD']) {
    t.same(told(await s3.ask(method, '/b/k', { headers: asked })), [base64, 'FULL_OBJECT']);
    t.same(told(await s3.ask(method, '/b/k')), [undefined, undefined], 'not where nobody asks');
    for (const range of ['bytes=0-3', 'bytes=4-', 'bytes=-2'])
      t.same(
        told(await s3.ask(method, '/b/k', { headers: { ...asked, range } })),
        [undefined, undefined],
        range,
      );
    t.same(told(await s3.ask(method, '/b/k?partNumber=1', { headers: asked })), [undefined, undefined]);
  }
});

t.test('a body that came as one is its only part', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/k', { body: BODY });
  for (const method of ['GET', 'HEAD'])
    t.match(await s3.ask(method, '/b/k?partNumber=1'), {
      status: 206,
      text: method === 'GET' ? '0123456789' : '',
      headers: {
        'content-range': 'bytes 0-9/10',
        'content-length': '10',
        'x-amz-mp-parts-count': undefined,
      },
    });
  isError(t, await s3.ask('GET', '/b/k?partNumber=2'), 416, 'InvalidPartNumber');
  for (const number of ['0', '10001', 'x'])
    isError(t, await s3.ask('GET', `/b/k?partNumber=${number}`), 400, 'InvalidArgument');
  const both = await s3.ask('GET', '/b/k?partNumber=1', { headers: { range: 'bytes=0-1' } });
  isError(t, both, 400, 'InvalidRequest');
  await s3.ask('PUT', '/b/empty', { body: Buffer.alloc(0) });
  t.match(await s3.ask('GET', '/b/empty?partNumber=1'), { status: 200, text: '' });
});

t.test('of an object that has tags, how many', async (t) => {
  const s3 = await bucket(t);
  const count = async () => (await s3.ask('HEAD', '/b/k')).headers['x-amz-tagging-count'];
  await s3.ask('PUT', '/b/k', { body: BODY });
  t.equal(await count(), undefined);
  await s3.ask('PUT', '/b/k', { body: BODY, headers: { 'x-amz-tagging': 'a=1&b=2' } });
  t.equal(await count(), '2');
  const body = Buffer.from('<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>');
  t.equal((await s3.ask('PUT', '/b/k?tagging', { body })).status, 200);
  t.equal(await count(), '1');
  t.equal((await s3.ask('DELETE', '/b/k?tagging')).status, 204);
  t.equal(await count(), undefined);
});

t.test('of an object of which nothing waits, the policy says what is told without a link', async (t) => {
  const s3 = await bucket(t, { unknown: 'absent' });
  for (const method of ['GET', 'HEAD'])
    t.match(await s3.ask(method, '/b/k'), { status: 404, headers: { 'layby-answer': 'assumed' } });
  isError(t, await s3.ask('GET', '/b/k'), 404, 'NoSuchKey');
  isError(t, await s3.ask('PUT', '/b', { body: Buffer.alloc(0) }), 409, 'BucketAlreadyOwnedByYou');
  isError(t, await s3.ask('GET', '/b/k?versionId=1'), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('GET', '/b/k?tagging'), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('GET', '/b?list-type=2'), 503, 'ServiceUnavailable');
  const list =
    '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>';
  await s3.ask('POST', '/b/theirs?uploadId=x', { body: Buffer.from(list) });
  isError(t, await s3.ask('GET', '/b/theirs'), 503, 'ServiceUnavailable');
  await s3.ask('PUT', '/b/k', { body: BODY });
  t.equal((await s3.ask('GET', '/b/k')).text, '0123456789');
});

t.test('by default nothing is assumed of an object or a bucket', async (t) => {
  const s3 = await bucket(t);
  isError(t, await s3.ask('GET', '/b/k'), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('PUT', '/b', { body: Buffer.alloc(0) }), 503, 'ServiceUnavailable');
});

t.test('with a link nothing is assumed of an object', async (t) => {
  const s3 = await bucket(t, { unknown: 'absent' });
  s3.link.up = true;
  t.match(await s3.ask('GET', '/b/other'), { status: 200, headers: { 'layby-answer': undefined } });
});

t.test('conditions', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/k', { body: BODY });
  const etag = `"${md5(BODY)}"`;
  const asked = async (headers: Record<string, string>) => (await s3.ask('GET', '/b/k', { headers })).status;
  t.equal(await asked({ 'if-none-match': etag }), 304);
  t.equal(await asked({ 'if-none-match': '"other"' }), 200);
  t.equal(await asked({ 'if-match': etag }), 200);
  t.equal(await asked({ 'if-match': '"other"' }), 412);
  t.equal(await asked({ 'if-modified-since': new Date(Date.now() + 60_000).toUTCString() }), 304);
  t.equal(await asked({ 'if-unmodified-since': new Date(0).toUTCString() }), 412);
});

t.test('of what was deleted, and of what nobody here knows', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/k', { body: BODY });
  await s3.ask('DELETE', '/b/k');
  const gone = await s3.ask('GET', '/b/k');
  isError(t, gone, 404, 'NoSuchKey');
  t.equal(xml(gone, 'Resource'), '/b/k');
  t.equal(gone.headers['layby-answer'], 'pending');
  t.equal((await s3.ask('HEAD', '/b/k')).status, 404);
  isError(t, await s3.ask('GET', '/b/other'), 503, 'ServiceUnavailable');
  t.equal((await s3.ask('HEAD', '/b/other')).status, 503);
});

t.test('with a link, what does not wait is asked of S3', async (t) => {
  const s3 = await bucket(t);
  s3.link.up = true;
  t.equal((await s3.ask('GET', '/b/~odd+key')).status, 200);
  t.equal((await s3.ask('GET', '/b?list-type=2')).status, 200);
  t.equal((await s3.ask('HEAD', '/b')).status, 200);
  t.same(
    s3.sent.map(({ method, path }) => `${method} ${path}`),
    ['GET /b/~odd%2Bkey', 'GET /b?list-type=2', 'HEAD /b'],
  );
});

t.test('the bucket is there, where the policy says', async (t) => {
  const s3 = await bucket(t);
  const head = await s3.ask('HEAD', '/b');
  t.match(head, { status: 200, headers: { 'x-amz-bucket-region': 'eu-west-1', 'layby-answer': 'pending' } });
  t.equal(xml(await s3.ask('GET', '/b?location'), 'LocationConstraint'), 'eu-west-1');
});

t.test(
  'of the region that S3 has no name for, the answer has none; boto3 is told none beside a 307',
  async (t) => {
    const s3 = await scene(testdir(t), [
      {
        ...bucketOf({ receipt: 'redirect' }),
        upstream: { url: 'https://s3.example', sign: { aws: { service: 's3', region: 'us-east-1' } } },
      },
    ]);
    t.teardown(() => s3.stop());
    t.match(await s3.ask('HEAD', '/b'), { status: 200, headers: { 'x-amz-bucket-region': undefined } });
    const location = await s3.ask('GET', '/b?location');
    t.match(
      location.text,
      '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>',
    );
  },
);

t.test(
  'while a lane drains S3 is asked for the bucket, and where it cannot be reached the policy',
  async (t) => {
    const s3 = await drainingScene(t, bucketOf({ mode: 'failover' }), '/b');
    for (const [method, path] of [
      ['HEAD', '/b'],
      ['GET', '/b?location'],
    ] as const) {
      const asked = await s3.ask(method, path);
      t.match(asked, { status: 200, headers: { 'layby-answer': undefined } });
      s3.link.refuses = ({ url }) => url === path;
      t.match(await s3.ask(method, path), { status: 200, headers: { 'layby-answer': 'pending' } }, path);
      s3.link.refuses = () => false;
    }
    t.same(s3.order, ['PUT /b/first 1', 'HEAD /b 0', 'GET /b?location 0']);
    s3.answer('/b/slow');
  },
);
