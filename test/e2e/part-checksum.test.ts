// A part whose checksum comes behind it, as SDKs send them, while the link is there: S3 gets it at once, with the checksum that the upload
// was created to have.

import { randomBytes } from 'node:crypto';
import { crc32 } from '@node-rs/crc32';
import t from 'tap';
import { framed } from '../queue/s3/bucket.ts';
import { curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { BUCKET, MIB, makeS3Scene } from './s3-scene.ts';
import { outcomesAtTheQueue, sha256 } from './scene.ts';

t.setTimeout(120_000);

const sumOf = (body: Buffer): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString('base64');
};

t.test('S3 takes such parts online, none of them is stored', { skip: noGo }, async (t) => {
  const { s3, layby } = await makeS3Scene(t, { cam: { store: { receipt: 's3', mode: 'failover' } } });
  const object = `http://cam.example/${BUCKET}/clip`;
  const call = (method: string, query: string, body?: Buffer, headers: string[] = []) =>
    curl(object + query, {
      ...{ method, via: layby.outbound, maxTime: 30, headers, ...(body && { body }) },
    });
  const created = await call('POST', '?uploads', undefined, ['x-amz-checksum-algorithm: CRC32']);
  const id = /<UploadId>([^<]+)/.exec(created.body.toString())?.[1] ?? '';
  t.notOk(id.startsWith('layby-'), 'the id is of S3');
  const parts = [randomBytes(5 * MIB), randomBytes(MIB)];
  const listed: string[] = [];
  for (const [index, part] of parts.entries()) {
    const sum = sumOf(part);
    const body = framed(part, `x-amz-checksum-crc32:${sum}\r\n`);
    const answer = await call('PUT', `?partNumber=${index + 1}&uploadId=${id}`, body, [
      'x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'content-encoding: aws-chunked',
      `x-amz-decoded-content-length: ${part.length}`,
      'x-amz-trailer: x-amz-checksum-crc32',
      'x-amz-sdk-checksum-algorithm: CRC32',
    ]);
    t.equal(answer.status, 200, answer.body.toString());
    t.equal(answer.headers.get('x-amz-checksum-crc32'), sum, 'S3 has verified it');
    t.notOk(answer.headers.has('layby-entry'));
    listed.push(
      `<Part><PartNumber>${index + 1}</PartNumber><ETag>${answer.headers.get('etag')}</ETag><ChecksumCRC32>${sum}</ChecksumCRC32></Part>`,
    );
  }
  const list = `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`;
  const completed = await call('POST', `?uploadId=${id}`, Buffer.from(list));
  t.equal(completed.status, 200, completed.body.toString());
  t.match(await s3.objects(), [{ key: 'clip', sha256: sha256(Buffer.concat(parts)) }]);
  t.same(Object.keys(await outcomesAtTheQueue(layby)), ['cut_through']);
});
