// Without a link S3's reads are answered of what waits, and say so.

import t from 'tap';
import { testdir } from '../../rig/testdir.ts';
import { drainingScene } from '../draining.ts';
import { scene } from '../scene.ts';
import { allXml, bucket, bucketOf, isError, md5, xml } from './bucket.ts';

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
  await s3.ask('PUT', '/b/clip?tagging', { body: Buffer.from('<Tagging/>') });
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

t.test('what waits is listed, sorted, and marked as not all there is', async (t) => {
  const s3 = await bucket(t);
  const keys = ['b', 'a/2', 'a/1', 'a/1/x', 'あ', 'a&b', 'z'];
  for (const key of keys)
    await s3.ask('PUT', `/b/${encodeURIComponent(key).replaceAll('%2F', '/')}`, { body: BODY });
  await s3.ask('PUT', '/other/key', { body: BODY });
  await s3.ask('DELETE', '/b/z');
  await s3.ask('DELETE', '/b/never');
  const ask = (query: string) => s3.ask('GET', `/b?${query}`);

  const all = await ask('list-type=2');
  t.equal(all.status, 200);
  t.equal(all.headers['layby-answer'], 'pending');
  t.same(allXml(all, 'Key'), ['a&amp;b', 'a/1', 'a/1/x', 'a/2', 'b', 'あ']);
  t.equal(xml(all, 'ETag'), `&quot;${md5(BODY)}&quot;`);
  t.equal(xml(all, 'Size'), '10');
  t.equal(xml(all, 'KeyCount'), '6');
  t.equal(xml(all, 'IsTruncated'), 'false');

  const folders = await ask('list-type=2&delimiter=%2F');
  t.same(allXml(folders, 'Key'), ['a&amp;b', 'b', 'あ']);
  t.match(folders.text, '<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>');
  t.same(allXml(await ask('list-type=2&prefix=a/&delimiter=/'), 'Key'), ['a/1', 'a/2']);
  t.same(allXml(await ask('list-type=2&start-after=a/1'), 'Key'), ['a/1/x', 'a/2', 'b', 'あ']);
  t.same(allXml(await ask('list-type=2&encoding-type=url&prefix=a%26'), 'Key'), ['a%26b']);
  t.same(allXml(await ask('marker=a/2'), 'Key'), ['b', 'あ'], 'version 1');
  t.same(allXml(await ask('list-type=2&max-keys=0'), 'Key'), []);
  isError(t, await ask('list-type=2&max-keys=-1'), 400, 'InvalidArgument');

  for (const query of [
    'list-type=2&max-keys=1',
    'list-type=2&max-keys=2&delimiter=%2F',
    'max-keys=1&delimiter=%2F',
  ]) {
    const found: string[] = [];
    let token = '';
    for (let pages = 0; pages < 20; pages++) {
      const page = await ask(`${query}${token}`);
      found.push(
        ...allXml(page, 'Key'),
        ...[...page.text.matchAll(/<CommonPrefixes><Prefix>([^<]*)/g)].map(([, p]) => p!),
      );
      if (xml(page, 'IsTruncated') === 'false') break;
      const next = xml(page, 'NextContinuationToken');
      token = next
        ? `&continuation-token=${next}`
        : `&marker=${encodeURIComponent(xml(page, 'NextMarker')!.replace('&amp;', '&'))}`;
    }
    const folded = query.includes('delimiter')
      ? ['a&amp;b', 'a/', 'b', 'あ']
      : ['a&amp;b', 'a/1', 'a/1/x', 'a/2', 'b', 'あ'];
    t.same(found.sort(), folded.sort(), query);
  }
});
