// Conditional writes without a link: S3 would judge them when all that waits has arrived, so the queue does before the receipt.

import t from 'tap';
import { bucket, isError, md5, stored, xml } from './bucket.ts';

const FIRST = { 'if-none-match': '*' };
const body = Buffer.from('1');

t.test('an object that waits is there, until a deletion of it waits', async (t) => {
  const s3 = await bucket(t);
  const put = (key: string, headers: Record<string, string> = {}) =>
    s3.ask('PUT', `/b/${key}`, { body, headers });
  t.match(await put('k', FIRST), { status: 200 });
  isError(t, await put('k', FIRST), 412, 'PreconditionFailed');
  t.match(await put('other', FIRST), { status: 200 });
  t.match(await put('k', { 'if-match': `"${md5(body)}"` }), { status: 200 });
  isError(t, await put('k', { 'if-match': `"${md5('x')}"` }), 412, 'PreconditionFailed');
  isError(t, await s3.ask('DELETE', '/b/k', { headers: { 'if-match': '"x"' } }), 412, 'PreconditionFailed');
  t.match(await put('unknown', { 'if-match': '"x"' }), { status: 200 }, 'S3 will say');
  t.match(await s3.ask('DELETE', '/b/k'), { status: 204 });
  isError(t, await put('k', { 'if-match': '*' }), 404, 'NoSuchKey');
  t.match(await put('k', FIRST), { status: 200 });
  t.equal((await stored(s3)).length, 6, 'nothing of what was refused');
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 6);
  t.same(
    s3.sent.filter(({ path }) => path === '/b/k').map(({ headers }) => headers['if-none-match']),
    ['*', undefined, undefined, '*'],
    'S3 is asked again',
  );
});

t.test('a deletion with a condition is done already behind a deletion, and is no entry', async (t) => {
  const s3 = await bucket(t);
  const remove = (headers: Record<string, string>) => s3.ask('DELETE', '/b/k', { headers });
  t.match(await remove({}), { status: 204 });
  for (const etag of ['*', `"${md5(body)}"`])
    t.match(await remove({ 'if-match': etag }), { status: 204, headers: { 'layby-answer': 'pending' } });
  t.equal((await stored(s3)).length, 1);
  await s3.ask('PUT', '/b/k', { body });
  isError(t, await remove({ 'if-match': '"x"' }), 412, 'PreconditionFailed');
  t.match(await remove({ 'if-match': `"${md5(body)}"` }), { status: 204 });
  t.equal((await stored(s3)).length, 3);
});

t.test('of many that want to be the first at once, one is', async (t) => {
  const s3 = await bucket(t);
  const all = await Promise.all(
    Array.from({ length: 20 }, () => s3.ask('PUT', '/b/k', { body, headers: FIRST })),
  );
  t.equal(all.filter(({ status }) => status === 200).length, 1);
  t.equal(all.filter(({ status }) => status === 412).length, 19);
  t.equal((await stored(s3)).length, 1);
});

t.test(
  'what the sidecar sends again after the commit has its receipt, and not its own object in the way',
  async (t) => {
    const s3 = await bucket(t);
    const headers = { ...FIRST, 'layby-request': '0b0a4b6e-91a5-4f2c-8f5a-5f0fc5a0a1ce' };
    for (let i = 0; i < 2; i++) t.match(await s3.ask('PUT', '/b/k', { body, headers }), { status: 200 });
    t.equal((await stored(s3)).length, 1);
  },
);

const upload = async (s3: Awaited<ReturnType<typeof bucket>>) => {
  const id = xml(await s3.ask('POST', '/b/k?uploads'), 'UploadId');
  const part = await s3.ask('PUT', `/b/k?partNumber=1&uploadId=${id}`, { body });
  const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.etag}</ETag></Part></CompleteMultipartUpload>`;
  return (headers: Record<string, string> = {}) =>
    s3.ask('POST', `/b/k?uploadId=${id}`, { body: Buffer.from(list), headers });
};

t.test('CompleteMultipartUpload is judged as a PUT is', async (t) => {
  const s3 = await bucket(t);
  const [one, two] = [await upload(s3), await upload(s3)];
  t.match(await one(FIRST), { status: 200 });
  isError(t, await two(FIRST), 412, 'PreconditionFailed');
  t.match(await one(FIRST), { status: 200 }, 'asked again, the same answer');
  t.match(await s3.ask('DELETE', '/b/k'), { status: 204 });
  t.match(await two(FIRST), { status: 200 }, 'the upload was still there');

  const given = () =>
    s3.ask('POST', '/b/k?uploadId=of-S3', {
      body: Buffer.from(
        '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>',
      ),
      headers: FIRST,
    });
  isError(t, await given(), 412, 'PreconditionFailed');
  t.match(await s3.ask('DELETE', '/b/k'), { status: 204 });
  t.match(await given(), { status: 200 });
  isError(t, await s3.ask('PUT', '/b/k', { body, headers: FIRST }), 412, 'PreconditionFailed');
});
