// Multipart uploads without a link: those that S3 began go on in their order, those that begin here become one object.

import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from '@node-rs/crc32';
import t from 'tap';
import { allXml, type Bucket, bucket, framed, isError, md5, stored, xml } from './bucket.ts';

const MIB = 1024 * 1024;
const PARTS = [randomBytes(5 * MIB), randomBytes(6 * MIB + 1), randomBytes(1000)];
const WHOLE = Buffer.concat(PARTS);

const etagOf = (parts: Buffer[]): string =>
  `"${md5(Buffer.concat(parts.map((part) => createHash('md5').update(part).digest())))}-${parts.length}"`;

const list = (parts: [number: number, etag: string | undefined][]): Buffer =>
  Buffer.from(
    `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts
      .map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`)
      .join('')}</CompleteMultipartUpload>`,
  );

const begin = async (s3: Bucket, key = 'k', headers: Record<string, string> = {}): Promise<string> =>
  xml(await s3.ask('POST', `/b/${key}?uploads=`, { body: Buffer.alloc(0), headers }), 'UploadId')!;

const part = (s3: Bucket, upload: string, number: number, body: Buffer, headers = {}, key = 'k') =>
  s3.ask('PUT', `/b/${key}?partNumber=${number}&uploadId=${upload}`, { body, headers });

const complete = (
  s3: Bucket,
  upload: string,
  parts: [number, string | undefined][],
  headers = {},
  key = 'k',
) => s3.ask('POST', `/b/${key}?uploadId=${upload}`, { body: list(parts), headers });

const escaped = (etag: string): string => etag.replaceAll('"', '&quot;');

t.test('one that begins here arrives as one object, with the headers of its beginning', async (t) => {
  const s3 = await bucket(t, { listings: 'pending' });
  const headers = {
    'content-type': 'video/mp4',
    'x-amz-meta-cam': 'front',
    'x-amz-storage-class': 'STANDARD_IA',
    'x-amz-checksum-algorithm': 'CRC32',
    'x-amz-checksum-type': 'COMPOSITE',
  };
  const upload = await begin(s3, 'k', headers);
  t.match(upload, /^layby-[0-9a-f-]{36}$/);
  // In any order, as SDKs send them.
  const etags: (string | undefined)[] = [];
  for (const i of [2, 0, 1]) {
    const answer = await part(s3, upload, i + 1, PARTS[i]!);
    t.equal(answer.status, 200, answer.text);
    etags[i] = answer.headers.etag;
    t.equal(etags[i], `"${md5(PARTS[i]!)}"`);
  }
  t.same(new Set((await stored(s3)).map(({ state }) => state)), new Set(['staged']));
  await s3.restart();
  const listed = await s3.ask('GET', `/b/k?uploadId=${upload}&max-parts=2`);
  t.same(allXml(listed, 'PartNumber'), ['1', '2']);
  t.same(allXml(listed, 'Size'), [String(5 * MIB), String(6 * MIB + 1)]);
  t.equal(xml(listed, 'IsTruncated'), 'true');
  t.same(allXml(await s3.ask('GET', `/b/k?uploadId=${upload}&part-number-marker=2`), 'PartNumber'), ['3']);
  const named = etags.map((etag, i) => [i + 1, etag] as [number, string]);
  const answer = await complete(s3, upload, named, { 'if-none-match': '*' });
  t.equal(answer.status, 200, answer.text);
  t.equal(xml(answer, 'ETag'), escaped(etagOf(PARTS)));
  t.equal(xml(answer, 'Key'), 'k');
  t.match(
    await stored(s3),
    [{ method: 'PUT', state: /^(stored|sending)$/, bytes: WHOLE.length }],
    'one entry is left',
  );
  const again = await complete(s3, upload, named);
  t.equal(xml(again, 'ETag'), escaped(etagOf(PARTS)), 'asked again, the same answer');
  t.equal(again.headers['layby-entry'], answer.headers['layby-entry'], 'and no second object');
  const head = await s3.ask('HEAD', '/b/k');
  t.match(head.headers, {
    etag: etagOf(PARTS),
    'content-length': String(WHOLE.length),
    'content-type': 'video/mp4',
  });
  t.same(allXml(await s3.ask('GET', '/b?list-type=2'), 'Key'), ['k']);

  // It is longer than a part, so replay sends it in parts: test/e2e/s3-clients.test.ts sees it whole at a real server.
  s3.link.up = true;
  await s3.until(() => s3.sent.length > 0);
  const [sent] = s3.sent;
  t.equal(`${sent!.method} ${sent!.path}`, 'POST /b/k?uploads=');
  t.match(sent!.headers, {
    'content-type': 'video/mp4',
    'x-amz-meta-cam': 'front',
    'x-amz-storage-class': 'STANDARD_IA',
  });
});

t.test('checksums are told where they are known, at the beginning, in the list and at the end', async (t) => {
  const s3 = await bucket(t);
  const sumOf = (body: Buffer): Buffer => {
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    return sum;
  };
  const bodies = PARTS.slice(0, 2);
  const sums = bodies.map(sumOf);
  const composite = `${sumOf(Buffer.concat(sums)).toString('base64')}-2`;
  const end = (id: string, headers: Record<string, string> = {}) =>
    s3.ask('POST', `/b/k?uploadId=${id}`, {
      headers,
      body: Buffer.from(
        `<CompleteMultipartUpload>${bodies.map((body, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>"${md5(body)}"</ETag><ChecksumCRC32>${sums[i]!.toString('base64')}</ChecksumCRC32></Part>`).join('')}</CompleteMultipartUpload>`,
      ),
    });
  const upload = async (headers: Record<string, string>) => {
    const created = await s3.ask('POST', '/b/k?uploads', { body: Buffer.alloc(0), headers });
    const id = xml(created, 'UploadId')!;
    for (const [i, body] of bodies.entries())
      await part(s3, id, i + 1, body, { 'x-amz-checksum-crc32': sums[i]!.toString('base64') });
    return { created, id };
  };

  const { created, id } = await upload({ 'x-amz-checksum-algorithm': 'CRC32' });
  t.match(created.headers, { 'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'COMPOSITE' });
  const listed = await s3.ask('GET', `/b/k?uploadId=${id}`);
  t.equal(xml(listed, 'ChecksumAlgorithm'), 'CRC32');
  t.same(
    allXml(listed, 'ChecksumCRC32'),
    sums.map((sum) => sum.toString('base64')),
  );
  const ended = await end(id);
  t.equal(xml(ended, 'ChecksumCRC32'), composite);
  t.equal(xml(ended, 'ChecksumType'), 'COMPOSITE');

  const full = sumOf(Buffer.concat(bodies)).toString('base64');
  const other = await upload({ 'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'FULL_OBJECT' });
  t.match(other.created.headers, { 'x-amz-checksum-type': 'FULL_OBJECT' });
  const whole = await end(other.id, { 'x-amz-checksum-crc32': full });
  t.equal(xml(whole, 'ChecksumCRC32'), full);
  t.equal(xml(whole, 'ChecksumType'), 'FULL_OBJECT');

  const silent = await upload({});
  t.equal(silent.created.headers['x-amz-checksum-algorithm'], undefined);
  t.equal(xml(await end(silent.id), 'ChecksumCRC32'), undefined);
  const wrong = { 'x-amz-checksum-algorithm': 'SHA256', 'x-amz-checksum-type': 'FULL_OBJECT' };
  isError(t, await s3.ask('POST', '/b/k?uploads', { headers: wrong }), 400, 'InvalidRequest');

  const theirs = await end('of-S3', { 'x-amz-checksum-type': 'COMPOSITE' });
  t.equal(xml(theirs, 'ChecksumCRC32'), composite, 'of an upload that S3 began, too');
});

t.test('one that began here ends here also when the link is back', async (t) => {
  const s3 = await bucket(t, { mode: 'failover' });
  const upload = await begin(s3);
  t.match(upload, /^layby-/);
  s3.link.up = true;
  const { headers } = await part(s3, upload, 1, PARTS[2]!);
  const answer = await complete(s3, upload, [[1, headers.etag]]);
  t.equal(answer.status, 200);
  await s3.until(() => s3.sent.some(({ body }) => body.equals(PARTS[2]!)));
  t.ok(
    s3.sent.every(({ path }) => !path.includes('uploadId')),
    'S3 does not hear of our id',
  );
});

t.test('a part that is sent again replaces the one before', async (t) => {
  const s3 = await bucket(t);
  const upload = await begin(s3);
  const first = await part(s3, upload, 1, Buffer.from('first'));
  const second = await part(s3, upload, 1, Buffer.from('second'));
  isError(t, await complete(s3, upload, [[1, first.headers.etag]]), 400, 'InvalidPart');
  t.equal((await complete(s3, upload, [[1, second.headers.etag]])).status, 200);
  t.equal((await s3.ask('GET', '/b/k')).text, 'second');
});

t.test('what S3 would refuse is refused, and the upload stays as it was', async (t) => {
  const s3 = await bucket(t);
  const upload = await begin(s3);
  const one = await part(s3, upload, 1, Buffer.from('small'));
  const two = await part(s3, upload, 2, Buffer.from('last'));
  const [a, b] = [one.headers.etag, two.headers.etag];
  const refused = async (parts: [number, string | undefined][], code: string, headers = {}) =>
    isError(t, await complete(s3, upload, parts, headers), 400, code);
  await refused(
    [
      [1, a],
      [2, b],
    ],
    'EntityTooSmall',
  );
  await refused(
    [
      [2, b],
      [1, a],
    ],
    'InvalidPartOrder',
  );
  await refused(
    [
      [1, a],
      [1, a],
    ],
    'InvalidPartOrder',
  );
  await refused([[1, b]], 'InvalidPart');
  await refused([[3, a]], 'InvalidPart');
  await refused([], 'MalformedXML');
  await refused([[1, a]], 'InvalidRequest', { 'x-amz-mp-object-size': '4' });
  await refused([[1, a]], 'BadDigest', { 'x-amz-checksum-crc32': 'AAAAAA==' });
  isError(t, await part(s3, upload, 0, Buffer.from('x')), 400, 'InvalidArgument');
  isError(t, await part(s3, upload, 10_001, Buffer.from('x')), 400, 'InvalidArgument');
  isError(t, await part(s3, upload, 1, Buffer.from('x'), {}, 'other'), 404, 'NoSuchUpload');
  isError(t, await part(s3, `layby-${'0'.repeat(36)}`, 1, Buffer.from('x')), 404, 'NoSuchUpload');
  isError(t, await complete(s3, 'layby-', [[1, a]]), 404, 'NoSuchUpload');
  const copy = { 'x-amz-copy-source': '/b/x' };
  isError(t, await part(s3, upload, 3, Buffer.alloc(0), copy), 503, 'ServiceUnavailable');
  const wrong = { 'content-md5': Buffer.from(md5('x'), 'hex').toString('base64') };
  isError(t, await part(s3, upload, 1, Buffer.from('bad'), wrong), 400, 'BadDigest');
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32('small'));
  const right = { 'x-amz-checksum-crc32': sum.toString('base64'), 'x-amz-mp-object-size': '5' };
  t.equal((await complete(s3, upload, [[1, a]], right)).status, 200);
  t.equal((await s3.ask('GET', '/b/k')).text, 'small');
});

t.test('an upload that is aborted leaves nothing', async (t) => {
  const s3 = await bucket(t);
  const upload = await begin(s3);
  await part(s3, upload, 1, PARTS[0]!);
  t.equal((await s3.ask('DELETE', `/b/k?uploadId=${upload}`)).status, 204);
  t.same(await stored(s3), []);
  isError(t, await s3.ask('DELETE', `/b/k?uploadId=${upload}`), 404, 'NoSuchUpload');
  isError(t, await part(s3, upload, 2, PARTS[2]!), 404, 'NoSuchUpload');
  isError(t, await s3.ask('GET', `/b/k?uploadId=${upload}`), 404, 'NoSuchUpload');
});

t.test('parts in frames, checksums behind them', async (t) => {
  const s3 = await bucket(t);
  const upload = await begin(s3);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(PARTS[2]!));
  const answer = await part(
    s3,
    upload,
    1,
    framed(PARTS[2]!, `x-amz-checksum-crc32:${sum.toString('base64')}\r\n`),
    {
      'content-encoding': 'aws-chunked',
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'x-amz-decoded-content-length': '1000',
      'x-amz-trailer': 'x-amz-checksum-crc32',
    },
  );
  t.equal(answer.headers.etag, `"${md5(PARTS[2]!)}"`);
  t.equal(xml(await s3.ask('GET', `/b/k?uploadId=${upload}`), 'ChecksumCRC32'), sum.toString('base64'));
});

t.test('an upload that never ends is dropped when its time to live is over', async (t) => {
  const s3 = await bucket(t, { ttl: 1 });
  const upload = await begin(s3);
  const deadline = Date.now() + 10_000;
  // The sweep has no event for the outside; the queue is asked.
  while ((await stored(s3)).length > 0 && Date.now() < deadline)
    await new Promise((done) => setTimeout(done, 50));
  isError(t, await part(s3, upload, 1, PARTS[2]!), 404, 'NoSuchUpload');
});

for (const order of ['key', 'none'] as const)
  t.test(`one that S3 began goes on without a link, part by part, with order ${order}`, async (t) => {
    const s3 = await bucket(t, { order });
    const id = 'S3.upload_id-~1';
    for (const [i, body] of PARTS.entries()) {
      const answer = await part(s3, encodeURIComponent(id), i + 1, body);
      t.equal(answer.status, 200, answer.text);
      t.equal(answer.headers.etag, `"${md5(body)}"`);
    }
    const named = PARTS.map((body, i) => [i + 1, `"${md5(body)}"`] as [number, string]);
    const answer = await complete(s3, id, named, { 'if-none-match': '*' });
    t.equal(answer.status, 200, answer.text);
    t.equal(xml(answer, 'ETag'), escaped(etagOf(PARTS)));
    isError(t, await s3.ask('GET', '/b/k'), 503, 'ServiceUnavailable');
    isError(t, await s3.ask('GET', `/b/k?uploadId=${id}`), 503, 'ServiceUnavailable');
    s3.link.up = true;
    await s3.until(() => s3.sent.length === 4);
    t.same(
      s3.sent.map(({ method, path }) => `${method} ${path}`),
      [1, 2, 3].map((n) => `PUT /b/k?partNumber=${n}&uploadId=${id}`).concat(`POST /b/k?uploadId=${id}`),
    );
    t.equal(s3.sent[3]!.body.toString(), list(named).toString());
    t.equal(s3.sent[3]!.headers['if-none-match'], '*');
    t.equal((await s3.ask('DELETE', `/b/k?uploadId=${id}`)).status, 204);
  });
