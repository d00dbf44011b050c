// What is decided about an object before anything is sent: which strategy, which parts, which headers where, and what S3's words mean.

import { createHash, randomBytes } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { Goodput } from '../../src/replay/deliver/goodput.ts';
import { queryOf } from '../../src/replay/deliver/s3/calls.ts';
import { base64Of, combine } from '../../src/replay/deliver/s3/crc32c.ts';
import {
  abortHeaders,
  completeHeaders,
  createHeaders,
  partHeaders,
} from '../../src/replay/deliver/s3/headers.ts';
import { outcomeOfS3 } from '../../src/replay/deliver/s3/outcome.ts';
import { partSizeFor, partsAtOnce, partsOf } from '../../src/replay/deliver/s3/plan.ts';
import { etagOfParts } from '../../src/replay/deliver/s3/recognise.ts';
import { redirectIn, targetOf, wordsOf } from '../../src/replay/deliver/s3/redirect.ts';
import { completedIn, completeXml, errorIn, partsIn, uploadIdIn } from '../../src/replay/deliver/s3/xml.ts';
import { strategyFor } from '../../src/replay/deliver/strategy.ts';
import type { Entry } from '../../src/store/store.ts';
import { destination } from '../policy/destination.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const s3At = (name: string, url: string, region = 'us-east-1'): Destination => ({
  ...destination({ name }),
  name,
  upstream: { url, sign: { aws: { service: 's3', region } } },
});
const cam = s3At('cam', 'https://s3.us-east-1.amazonaws.com');

const entryOf = (entry: Partial<Entry>): Entry => ({
  ...{ id: 'e1', destination: 'cam', method: 'PUT', url: 'http://cam.example/clips/a.mp4', headers: [] },
  ...{ orderKey: '', class: 1, receivedAt: 0, seq: 1, bytes: 100 * MIB, sha256: '', trailers: [] },
  ...{ state: 'stored', attempts: 0 },
  ...entry,
});

const strategyOf = (
  to: Destination,
  changes: Partial<Entry>,
  known: { begun: boolean; rate: number | undefined },
) => strategyFor(to, entryOf(changes), entryOf(changes), known);

t.test('a PUT of an object larger than a part goes in parts, everything else in one piece', async (t) => {
  const none = { begun: false, rate: undefined };
  t.equal(strategyOf(cam, {}, none), 's3-multipart');
  t.equal(strategyOf(cam, { url: 'http://cam.example/a?x-id=PutObject' }, none), 's3-multipart');
  t.equal(strategyOf(cam, { bytes: 5 * MIB }, none), 's3');
  t.equal(strategyOf(cam, { method: 'POST' }, none), 's3');
  t.equal(strategyOf(cam, { url: 'http://cam.example/a?tagging' }, none), 's3');
  t.equal(strategyOf(cam, { url: 'http://cam.example/a?partNumber=1&uploadId=x' }, none), 's3');
  t.equal(strategyOf(cam, { headers: ['X-Amz-Copy-Source', '/b/c'] }, none), 's3');
  t.equal(strategyOf(cam, { bytes: 30 * MIB }, { begun: false, rate: 10 * MIB }), 's3');
  t.equal(strategyOf(cam, { bytes: 30 * MIB }, { begun: true, rate: 10 * MIB }), 's3-multipart');
  t.equal(strategyOf(destination({ name: 'api' }), {}, none), 'http');
});

t.test('parts are sized to the way, within what S3 takes', async (t) => {
  t.equal(partSizeFor(100 * MIB, undefined), 5 * MIB);
  t.equal(partSizeFor(100 * MIB, 100_000), 5 * MIB);
  t.equal(partSizeFor(100 * MIB, 5 * MIB), 20 * MIB);
  t.equal(partSizeFor(GIB, 500 * MIB), 64 * MIB);
  t.equal(partSizeFor(1024 * GIB, undefined), 105 * MIB);
  t.ok(partsOf(1024 * GIB, partSizeFor(1024 * GIB, undefined)!).length <= 10_000);
  t.equal(partSizeFor(10_000 * 5 * GIB, undefined), 5 * GIB);
  t.equal(partSizeFor(10_000 * 5 * GIB + 1, undefined), undefined);
  t.equal(partsAtOnce(5 * MIB, undefined), 1, 'nothing is known of the way');
  t.equal(partsAtOnce(5 * MIB, 0.5 * MIB), 1);
  t.equal(partsAtOnce(20 * MIB, 5 * MIB), 2);
  t.same(partsOf(11, 5), [
    { number: 1, start: 0, end: 5 },
    { number: 2, start: 5, end: 10 },
    { number: 3, start: 10, end: 11 },
  ]);
});

t.test('the rate of a way follows what it carries, and small transfers say nothing of it', async (t) => {
  const goodput = new Goodput();
  goodput.note(1000, 1);
  t.equal(goodput.rate, undefined);
  goodput.note(5 * MIB, 1000);
  t.equal(goodput.rate, 5 * MIB);
  goodput.note(MIB, 1000, 1);
  t.equal(goodput.rate, 5 * MIB * 0.6 + 2 * MIB * 0.4, 'two at once carried twice that');
});

t.test('the CRC32C of a whole comes out of its parts', async (t) => {
  for (const lengths of [[1], [5, 7], [0, 3, 0], [100_000, 1, 262_144, 99]]) {
    const parts = lengths.map((length) => randomBytes(length));
    const combined = parts.reduce((whole, part) => combine(whole, crc32c(part), part.length), 0);
    t.equal(combined, crc32c(Buffer.concat(parts)), lengths.join(' + '));
  }
  t.equal(base64Of(crc32c('123456789')), '4waSgw==');
});

t.test('each header of a PUT goes where S3 wants it', async (t) => {
  const headers = [
    ...['Content-Type', 'video/mp4', 'Content-MD5', 'x', 'Content-Length', '7', 'X-Amz-Meta-Camera', 'front'],
    ...['x-amz-tagging', 'a=b', 'x-amz-storage-class', 'GLACIER_IR', 'x-amz-acl', 'private'],
    ...['x-amz-server-side-encryption', 'aws:kms', 'x-amz-checksum-crc32', 'q', 'If-None-Match', '*'],
    ...['x-amz-server-side-encryption-customer-key', 'k', 'x-amz-expected-bucket-owner', '17'],
    ...['x-amz-sdk-checksum-algorithm', 'CRC32'],
  ];
  const named = (raw: string[]) => raw.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
  t.same(named(createHeaders(headers, 'e1')), [
    ...['content-type', 'x-amz-meta-camera', 'x-amz-tagging', 'x-amz-storage-class', 'x-amz-acl'],
    ...['x-amz-server-side-encryption', 'x-amz-server-side-encryption-customer-key'],
    ...['x-amz-expected-bucket-owner', 'x-amz-meta-layby-entry'],
  ]);
  const customer = ['x-amz-server-side-encryption-customer-key', 'x-amz-expected-bucket-owner'];
  t.same(named(partHeaders(headers)), customer);
  t.same(named(completeHeaders(headers)), ['if-none-match', ...customer]);
  t.same(named(abortHeaders(headers)), ['x-amz-expected-bucket-owner']);
  const full = ['x-amz-meta-a', 'x'.repeat(2000)];
  t.same(
    createHeaders(full, 'e1'.repeat(18)),
    full,
    'metadata that fills S3 to the brim has no room for ours',
  );
});

t.test("S3's documents are read, and what is none of them is not taken for one", async (t) => {
  const error = '<Error><Code>NoSuchUpload</Code><Message>gone</Message><Endpoint>b.s3.x</Endpoint></Error>';
  t.same(errorIn(`<?xml version="1.0"?>\n  ${error}`), {
    ...{ code: 'NoSuchUpload', message: 'gone', endpoint: 'b.s3.x' },
  });
  for (const text of ['', 'Bad gateway', '<html></html>', error.slice(0, 30)])
    t.equal(errorIn(text), undefined);
  const created =
    '<InitiateMultipartUploadResult><UploadId>a.b_c-d</UploadId></InitiateMultipartUploadResult>';
  t.equal(uploadIdIn(created), 'a.b_c-d');
  const part = '<Part><PartNumber>3</PartNumber><ETag>&quot;abc&quot;</ETag><Size>7</Size></Part>';
  const more = '<IsTruncated>true</IsTruncated><NextPartNumberMarker>3</NextPartNumberMarker>';
  t.same(partsIn(`<ListPartsResult>${more}${part}</ListPartsResult>`), {
    parts: [{ number: 3, etag: 'abc', bytes: 7, crc32c: undefined }],
    next: '3',
  });
  t.equal(partsIn(error), undefined);
  t.equal(completedIn(error), undefined);
  t.match(
    completeXml([{ number: 1, etag: 'a"<b', crc32c: 'AAAA' }]),
    '<Part><PartNumber>1</PartNumber><ETag>"a&#34;&#60;b"</ETag><ChecksumCRC32C>AAAA</ChecksumCRC32C></Part>',
  );
});

t.test('what S3 says in words counts more than the status', async (t) => {
  const said = (code: string) => ({ code, message: '', endpoint: undefined });
  t.equal(outcomeOfS3(400, said('RequestTimeout')), 'retry', 'the way was slow');
  t.equal(outcomeOfS3(409, said('ConditionalRequestConflict')), 'retry');
  t.equal(outcomeOfS3(400, said('ExpiredToken')), 'unauthorized');
  t.equal(outcomeOfS3(400, said('EntityTooLarge')), 'dead');
  t.equal(outcomeOfS3(404, said('NoSuchBucket')), 'dead');
  t.equal(outcomeOfS3(409, said('OperationAborted')), 'retry');
  t.equal(outcomeOfS3(501, said('NotImplemented')), 'dead');
  t.equal(outcomeOfS3(200, said('NotImplemented')), 'dead', 'also where S3 began with 200');
  t.equal(outcomeOfS3(200, said('AccessDenied')), 'unauthorized');
  t.equal(outcomeOfS3(503, said('SlowDown')), 'retry');
  t.equal(outcomeOfS3(503, undefined), 'retry');
  t.equal(outcomeOfS3(200, said('InternalError')), 'retry', 'S3 began with 200 before it knew');
  t.equal(outcomeOfS3(200, said('NoSuchUpload')), 'dead');
  t.equal(outcomeOfS3(200, undefined), 'delivered');
});

t.test('the ETag of an object in parts is made of theirs, where they are MD5s', async (t) => {
  const a = '0cc175b9c0f1b6a831c399e269772661';
  const b = '92eb5ffee6ae2fec3ad71c777531578f';
  t.equal(
    etagOfParts([a, b]),
    `${createHash('md5')
      .update(Buffer.from(a + b, 'hex'))
      .digest('hex')}-2`,
  );
  t.equal(etagOfParts([a, 'kms']), undefined);
});

t.test('a redirect to the region of a bucket is followed only to a destination of the policy', async (t) => {
  const tokyo = s3At('tokyo', 'https://s3.ap-northeast-1.amazonaws.com', 'ap-northeast-1');
  const all = [cam, tokyo];
  const region = ['x-amz-bucket-region', 'ap-northeast-1'];
  const moved = redirectIn(301, region, {
    ...{ code: 'PermanentRedirect', message: '', endpoint: 'clips.s3.ap-northeast-1.amazonaws.com' },
  })!;
  t.equal(targetOf(moved, cam, all), tokyo);
  t.equal(targetOf(moved, cam, [cam]), undefined);
  t.match(wordsOf(moved), /ap-northeast-1/);
  const where = ['location', 'https://s3.ap-northeast-1.amazonaws.com/clips/a', ...region];
  t.equal(targetOf(redirectIn(307, where, undefined)!, cam, all), tokyo);
  const elsewhere = redirectIn(307, ['location', 'https://evil.example/clips/a', ...region], undefined)!;
  t.equal(targetOf(elsewhere, cam, all), undefined, 'the right region at a host that nobody named');
  t.equal(redirectIn(200, region, undefined), undefined);
});

t.test('queries are spelled as S3 signs them', async (t) => {
  t.equal(queryOf({ uploads: '' }), '?uploads=');
  t.equal(queryOf({ partNumber: 3, uploadId: 'a/b+c=(~)' }), '?partNumber=3&uploadId=a%2Fb%2Bc%3D%28~%29');
  t.equal(queryOf({}), '');
});
