// URLs that apps have signed, for a destination that Layby signs for: a second signature is in the way of the first, so the app's goes.

import t from 'tap';
import { withoutSignature } from '../../src/queue/presigned.ts';
import { destination } from '../policy/destination.ts';
import { testdir } from '../rig/testdir.ts';
import { bucket, bucketOf, md5, stored } from './s3/bucket.ts';
import { destinationOf, scene } from './scene.ts';

const V4 =
  'X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2Fs3&X-Amz-Date=d&X-Amz-Expires=60&X-Amz-SignedHeaders=host';
const signedBy = (signature: string): string => `${V4}&X-Amz-Signature=${signature}`;
const V2 = 'AWSAccessKeyId=k&Signature=a%2Fb%3D&Expires=1700000000';
const body = Buffer.from('body');

const signing = (service: string) =>
  destination({ upstream: { url: 'https://u.example', sign: { aws: { service, region: 'r' } } } });

t.test('what authenticates is taken off, and nothing else', async (t) => {
  for (const [service, given, path, headers] of [
    ['s3', `/k?${signedBy('a')}`, '/k', []],
    ['s3', `/k?${V2}`, '/k', []],
    ['s3', `/k?x-id=PutObject&${signedBy('a')}&a=+%2B`, '/k?x-id=PutObject&a=+%2B', []],
    ['s3', `/k?%58-amz-signature=a`, '/k', []],
    [
      's3',
      `/k?x-amz-meta-A=b%20c%0d%0a&x-amz-acl=&${signedBy('a')}`,
      '/k',
      ['x-amz-meta-a', 'b c  ', 'x-amz-acl', ''],
    ],
    ['s3', `/k?x-amz-meta-a=b`, '/k?x-amz-meta-a=b', []],
    ['s3', `/k?Expires=1`, '/k?Expires=1', []],
    ['execute-api', `/k?${signedBy('a')}&x-amz-meta-a=b`, '/k?x-amz-meta-a=b', []],
    ['execute-api', `/k?${V2}`, `/k?${V2}`, []],
    ['s3', '/k', '/k', []],
    ['s3', '/k?', '/k?', []],
  ] as const)
    t.same(withoutSignature(signing(service), given), { path, headers }, `${service} ${given}`);
  const unsigned = destination({ upstream: { url: 'https://u.example' } });
  t.same(
    withoutSignature(unsigned, `/k?${V2}`),
    { path: `/k?${V2}`, headers: [] },
    'where Layby does not sign',
  );
});

t.test(
  'an object that was put by a presigned URL is stored, read and sent without the signature',
  async (t) => {
    const s3 = await bucket(t, { receipt: 'auto' });
    const put = await s3.ask('PUT', `/b/k?x-amz-meta-cam=front&${signedBy('1')}`, { body });
    t.match(put, { status: 200, headers: { etag: `"${md5(body)}"` } }, 'who signs is answered as by S3');
    t.match(await stored(s3), [{ url: 'http://s3.example/b/k' }]);
    const read = await s3.ask('GET', `/b/k?${signedBy('2')}`);
    t.match(read, { status: 200, headers: { 'x-amz-meta-cam': 'front' } });
    t.same(read.body, body);
    t.match(await s3.ask('HEAD', `/b/k?${V2}`), { status: 200 });
    t.match(await s3.ask('DELETE', `/b/k?${signedBy('3')}`), { status: 204 });
    t.match(await s3.ask('GET', `/b/k?${signedBy('2')}`), { status: 404 });
    s3.link.up = true;
    await s3.until(() => s3.sent.length === 2);
    t.same(s3.order, ['PUT /b/k 4', 'DELETE /b/k 0']);
    t.equal(s3.sent[0]!.headers['x-amz-meta-cam'], 'front');
  },
);

t.test('a large one goes in parts, like any other', async (t) => {
  const s3 = await bucket(t, { receipt: 'auto' });
  const large = Buffer.alloc(20 * 1024 * 1024, 1);
  t.match(await s3.ask('PUT', `/b/k?x-amz-meta-cam=front&${signedBy('1')}`, { body: large }), {
    status: 200,
  });
  s3.link.up = true;
  await s3.until(() => s3.sent.some(({ path }) => path.includes('?uploads')));
  const create = s3.sent.find(({ path }) => path.includes('?uploads'))!;
  t.equal(create.headers['x-amz-meta-cam'], 'front');
});

t.test(
  'where Layby does not sign, the URL is stored and sent as it is, and its object is found',
  async (t) => {
    const unsigned = { ...bucketOf({ receipt: 'auto' }), upstream: { url: 'https://s3.example' } };
    const s3 = await scene(testdir(t), [unsigned]);
    t.teardown(() => s3.stop());
    t.match(await s3.ask('PUT', `/b/k?${signedBy('1')}`, { body }), { status: 200 });
    const read = await s3.ask('GET', `/b/k?${signedBy('2')}`);
    t.match(read, { status: 200 });
    t.same(read.body, body);
    s3.link.up = true;
    await s3.until(() => s3.sent.length === 1);
    t.equal(s3.sent[0]!.path, `/b/k?${signedBy('1')}`);
  },
);

t.test('what is called for another service than S3 is found by its URL, whoever signed it', async (t) => {
  const api = {
    ...destinationOf('api'),
    upstream: { url: 'https://api.example', sign: { aws: { service: 'execute-api', region: 'r' } } },
  };
  const made = await scene(testdir(t), [api]);
  t.teardown(() => made.stop());
  t.match(await made.ask('PUT', `/a?x=1&${signedBy('1')}`, { body }), { status: 307 });
  t.match(await made.ask('GET', `/a?x=1&${signedBy('2')}`), { status: 200 });
});
