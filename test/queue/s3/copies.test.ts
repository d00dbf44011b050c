// CopyObject without a link: of what waits a copy waits too, of all else only S3 can make one.

import t from 'tap';
import { testdir } from '../../rig/testdir.ts';
import { scene } from '../scene.ts';
import { bucket, bucketOf, isError, md5, stored, xml } from './bucket.ts';

const of = (source: string, more: Record<string, string> = {}) => ({
  headers: { 'x-amz-copy-source': source, ...more },
});

t.test('a copy of what waits is stored as the object that it will be', async (t) => {
  const s3 = await bucket(t);
  const said = {
    'content-type': 'text/x',
    'x-amz-meta-a': '1',
    'x-amz-tagging': 'k=v',
    'x-amz-acl': 'private',
  };
  await s3.ask('PUT', '/b/a%20b', { body: Buffer.from('body'), headers: said });
  const copied = await s3.ask('PUT', '/b/copy', of('/b/a%20b'));
  t.equal(copied.status, 200, copied.text);
  t.match(xml(copied, 'ETag'), md5('body'));
  t.ok(xml(copied, 'LastModified'));
  t.match(await s3.ask('GET', '/b/copy'), {
    ...{ status: 200, text: 'body' },
    headers: { 'content-type': 'text/x', 'x-amz-meta-a': '1', 'x-amz-tagging-count': '1' },
  });
  const replaced = {
    'x-amz-metadata-directive': 'REPLACE',
    'x-amz-meta-b': '2',
    'x-amz-tagging-directive': 'REPLACE',
  };
  t.equal((await s3.ask('PUT', '/b/replaced', of('b/a%20b', replaced))).status, 200);
  const read = await s3.ask('GET', '/b/replaced');
  t.match(read, { text: 'body', headers: { 'x-amz-meta-b': '2' } });
  t.equal(read.headers['x-amz-meta-a'] ?? read.headers['x-amz-tagging-count'], undefined);
  t.equal((await s3.ask('PUT', '/b/again', of('/b/copy'))).status, 200, 'a copy of a copy');
  await s3.ask('DELETE', '/b/a%20b');
  t.equal((await s3.ask('GET', '/b/copy')).text, 'body', 'it needs nothing of its source');

  s3.link.up = true;
  await s3.until(() => s3.sent.length === 5);
  for (const path of ['/b/copy', '/b/replaced', '/b/again']) {
    const arrived = s3.sent.find(({ path: at }) => at === path);
    t.equal(arrived?.body.toString(), 'body', path);
    t.equal(arrived?.headers['x-amz-copy-source'], undefined);
  }
  t.match(s3.sent.find(({ path: at }) => at === '/b/copy')?.headers, {
    'x-amz-meta-a': '1',
    'x-amz-tagging': 'k=v',
  });
  t.equal(
    s3.sent.find(({ path: at }) => at === '/b/copy')?.headers['x-amz-acl'],
    undefined,
    'an ACL is not copied',
  );
});

t.test('what S3 would refuse is refused, and what only S3 has is not copied', async (t) => {
  const s3 = await bucket(t);
  await s3.ask('PUT', '/b/a', { body: Buffer.from('body') });
  await s3.ask('DELETE', '/b/gone');
  isError(t, await s3.ask('PUT', '/b/c', of('/b/unknown')), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('PUT', '/b/c', of('/b/a?versionId=7')), 503, 'ServiceUnavailable');
  isError(t, await s3.ask('PUT', '/b/c', of('/b/gone')), 404, 'NoSuchKey');
  isError(t, await s3.ask('PUT', '/b/a', of('/b/a')), 400, 'InvalidRequest');
  const etag = `"${md5('body')}"`;
  for (const [name, value, status] of [
    ['x-amz-copy-source-if-match', etag, 200],
    ['x-amz-copy-source-if-match', '"x"', 412],
    ['x-amz-copy-source-if-none-match', etag, 412],
  ] as const)
    t.equal((await s3.ask('PUT', `/b/${status}`, of('/b/a', { [name]: value }))).status, status, name);
  t.equal((await s3.ask('PUT', '/b/a', of('/b/a', { 'x-amz-metadata-directive': 'REPLACE' }))).status, 200);
  await s3.ask('PUT', '/b/a?tagging', { body: Buffer.from('<Tagging><TagSet/></Tagging>') });
  isError(t, await s3.ask('PUT', '/b/c', of('/b/a')), 503, 'ServiceUnavailable');
  t.notOk(
    (await stored(s3)).some(({ url }) => url.endsWith('/b/c')),
    'nothing of these was stored',
  );
});

t.test('where the app itself signs, nobody could sign the copy', async (t) => {
  const { upstream: _, ...unsigned } = bucketOf();
  const s3 = await scene(testdir(t), [{ ...unsigned, upstream: { url: 'https://s3.example' } }]);
  t.teardown(() => s3.stop());
  const signed = { authorization: 'AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request' };
  await s3.ask('PUT', '/b/a', { body: Buffer.from('body'), headers: signed });
  isError(t, await s3.ask('PUT', '/b/c', of('/b/a', signed)), 503, 'ServiceUnavailable');
  const presigned = '/b/c?X-Amz-Credential=AKID%2F20260101&X-Amz-Signature=1';
  isError(t, await s3.ask('PUT', presigned, of('/b/a')), 503, 'ServiceUnavailable');
});
