// The bucket in the host's name: the same object as in path style, whichever way it is called.

import t from 'tap';
import { testdir } from '../../rig/testdir.ts';
import { scene } from '../scene.ts';
import { allXml, bucketOf, md5, xml } from './bucket.ts';

const HOSTS = ['s3.example', '*.s3.example'];
const CLIPS = { host: 'clips.s3.example' };

const virtual = async (t: import('tap').Test, store = {}) => {
  const s3 = await scene(testdir(t), [{ ...bucketOf(store), hosts: HOSTS }]);
  t.teardown(() => s3.stop());
  return s3;
};

t.test('what is stored is found in either style, and is sent to the bucket', async (t) => {
  const s3 = await virtual(t, { listings: 'pending' });
  const body = Buffer.from('whole');
  const put = await s3.ask('PUT', '/a/b%20c', { body, headers: CLIPS });
  t.equal(put.headers.etag, `"${md5(body)}"`, put.text);
  t.equal((await s3.ask('GET', '/a/b%20c', { headers: CLIPS })).text, 'whole');
  t.equal((await s3.ask('GET', '/clips/a/b%20c')).text, 'whole', 'in path style');
  t.equal((await s3.ask('GET', '/a/b%20c', { headers: { host: 'other.s3.example' } })).status, 503);
  const listed = await s3.ask('GET', '/?list-type=2&prefix=a/', { headers: CLIPS });
  t.equal(xml(listed, 'Name'), 'clips');
  t.same(allXml(listed, 'Key'), ['a/b c']);
  t.match(await s3.ask('HEAD', '/', { headers: CLIPS }), { status: 200 });
  t.match(JSON.parse((await s3.admin('/v1/queue')).text), [{ url: 'http://s3.example/clips/a/b%20c' }]);
  s3.link.up = true;
  await s3.until(() => s3.sent.length > 0);
  t.match(s3.sent, [{ method: 'PUT', path: '/clips/a/b%20c' }]);
});

t.test('what the sidecar has tried already, with the bucket in the path, is the same object', async (t) => {
  const s3 = await virtual(t, { mode: 'failover' });
  const headers = { host: 'upstream', 'layby-host': 'clips.s3.example', 'layby-prefix': '/clips' };
  const put = await s3.ask('PUT', '/clips/clips/k', { body: Buffer.from('1'), headers });
  t.equal(put.status, 200, put.text);
  t.match(JSON.parse((await s3.admin('/v1/queue')).text), [{ url: 'http://s3.example/clips/clips/k' }]);
});

t.test('uploads in parts and DeleteObjects keep to the bucket', async (t) => {
  const s3 = await virtual(t, { listings: 'pending' });
  const id = xml(await s3.ask('POST', '/k?uploads', { headers: CLIPS }), 'UploadId');
  const body = Buffer.from('part');
  const part = await s3.ask('PUT', `/k?partNumber=1&uploadId=${id}`, { body, headers: CLIPS });
  const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.etag}</ETag></Part></CompleteMultipartUpload>`;
  const complete = await s3.ask('POST', `/clips/k?uploadId=${id}`, { body: Buffer.from(list) });
  t.equal(xml(complete, 'Key'), 'k', complete.text);
  const remove = '<Delete><Object><Key>old</Key></Object></Delete>';
  t.equal((await s3.ask('POST', '/?delete', { body: Buffer.from(remove), headers: CLIPS })).status, 200);
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 2);
  t.same(s3.order.sort(), ['DELETE /clips/old 0', 'PUT /clips/k 4']);
});

t.test('what is passed on goes to the bucket', async (t) => {
  const s3 = await virtual(t, { mode: 'failover' });
  s3.link.up = true;
  await s3.ask('PUT', '/k', { body: Buffer.from('1'), headers: CLIPS });
  await s3.ask('GET', '/?versions', { headers: CLIPS });
  t.same(s3.order, ['PUT /clips/k 1', 'GET /clips/?versions 0']);
});
