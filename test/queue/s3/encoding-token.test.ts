// `content-encoding: aws-chunked` where nothing else says that the body is framed: it is not, and S3 takes the token off and the body
// as it is.

import t from 'tap';
import { bucket, framed, md5, stored } from './bucket.ts';

const BODY = Buffer.from('5\r\nnot a frame');

const ENCODINGS: [sent: string, arrives: string | undefined][] = [
  ['aws-chunked', undefined],
  ['gzip, aws-chunked', 'gzip'],
  ['aws-chunked,gzip', 'gzip'],
  ['AWS-Chunked , br', 'br'],
  ['gzip,br', 'gzip,br'],
];
const SUMS: Record<string, string>[] = [
  {},
  { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
  { 'content-md5': Buffer.from(md5(BODY), 'hex').toString('base64') },
];

for (const mode of ['always', 'failover'] as const)
  t.test(`mode ${mode}: a body that only says aws-chunked arrives as it is, without the token`, async (t) => {
    const s3 = await bucket(t, { mode });
    s3.link.up = mode === 'failover';
    let calls = 0;
    for (const [encoding] of ENCODINGS)
      for (const sum of SUMS) {
        const headers = { 'content-encoding': encoding, ...sum };
        const answer = await s3.ask('PUT', `/b/${calls++}`, { body: BODY, headers });
        t.equal(answer.status, 200, `${encoding} ${JSON.stringify(sum)} ${answer.text}`);
      }
    if (mode === 'always') {
      const read = await s3.ask('GET', `/b/${SUMS.length}`);
      t.equal(read.headers['content-encoding'], 'gzip', 'as S3 will say it');
      t.same(read.body, BODY);
    }
    s3.link.up = true;
    await s3.until(() => s3.sent.length === calls);
    for (const { path, headers, body } of s3.sent) {
      t.equal(
        headers['content-encoding'],
        ENCODINGS[Math.floor(Number(path.slice(3)) / SUMS.length)]![1],
        path,
      );
      t.same(body, BODY);
    }
  });

t.test('with a decoded length it is framed, whatever is said of its hash', async (t) => {
  const s3 = await bucket(t);
  const headers = { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': String(BODY.length) };
  t.match(await s3.ask('PUT', '/b/k', { body: framed(BODY), headers }), { status: 200 });
  t.same((await s3.ask('GET', '/b/k')).body, BODY);
});

t.test('what the policy does not store goes on without its frames all the same', async (t) => {
  const s3 = await bucket(t, { mode: 'never' });
  const headers = {
    'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'x-amz-decoded-content-length': String(BODY.length),
  };
  s3.link.up = true;
  for (const path of ['/b/k', '/b/k?partNumber=1&uploadId=given'])
    t.match(await s3.ask('PUT', path, { body: framed(BODY), headers }), { status: 200 });
  for (const sent of s3.sent) {
    t.same(sent.body, BODY);
    t.equal(sent.headers['content-length'], String(BODY.length));
    t.notOk('x-amz-decoded-content-length' in sent.headers);
  }
  t.equal(s3.sent.length, 2);
  const wrong = { ...headers, 'x-amz-decoded-content-length': '1' };
  t.match(await s3.ask('PUT', '/b/k', { body: framed(BODY), headers: wrong }), { status: 400 });
  t.equal(s3.sent.length, 2, 'what is wrong is refused, and does not look whole to S3');
  s3.link.up = false;
  t.match(await s3.ask('PUT', '/b/k', { body: framed(BODY), headers }), { status: 503 });
  t.same(await stored(s3), []);
});
