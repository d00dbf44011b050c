// The answers of real servers of S3 to each kind of request that may be stored are taken for S3's.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { positiveDoubt } from '../../src/replay/deliver/s3/plausible.ts';
import { uploadIdIn } from '../../src/replay/deliver/s3/xml.ts';
import { type CurlAnswer, curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(120_000);

const TAGS = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>';
const DELETE = '<Delete><Object><Key>copy</Key></Object><Object><Key>none</Key></Object></Delete>';
const hash = (text: string, as: 'hex' | 'base64'): string => createHash('md5').update(text).digest(as);

for (const server of ['versitygw', 'rclone'] as const)
  t.test(`${server} is believed`, { skip: server === 'versitygw' && noGo }, async (t) => {
    const s3 = await startS3({ server, dir: join(testdir(t), 's3'), buckets: ['clips'] });
    t.teardown(() => s3.stop());
    const ask = async (
      what: string,
      method: string,
      path: string,
      { body, headers = [] }: { body?: string; headers?: string[] } = {},
    ): Promise<CurlAnswer> => {
      const answer = await curl(s3.url + path, {
        ...{ method, maxTime: 10, headers: ['x-amz-content-sha256: UNSIGNED-PAYLOAD', ...headers] },
        ...(body !== undefined && { body }),
        args: [
          ...['--aws-sigv4', `aws:amz:${s3.region}:s3`, '--user', `${s3.accessKeyId}:${s3.secretAccessKey}`],
        ],
      });
      const text = answer.body.toString();
      const call = { method, url: path, headers: headers.flatMap((line) => line.split(': ')) };
      const said = { status: answer.status, headers: [...answer.headers].flat(), text };
      const md5 = body === undefined ? undefined : hash(body, 'hex');
      const shown = `${what}: ${answer.status} ${text.slice(0, 200)}`;
      t.ok(answer.status >= 200 && answer.status < 300, shown);
      t.equal(positiveDoubt(call, said), undefined, shown);
      t.equal(positiveDoubt(call, said, md5), undefined);
      return answer;
    };
    await ask('CreateBucket', 'PUT', '/another');
    await ask('PutObject', 'PUT', '/clips/object', { body: 'hello' });
    await ask('PutObject of nothing', 'PUT', '/clips/empty', { body: '' });
    const from = { headers: ['x-amz-copy-source: /clips/object'] };
    await ask('CopyObject', 'PUT', '/clips/copy', from);
    if (server === 'versitygw') {
      await ask('PutObjectTagging', 'PUT', '/clips/object?tagging=', { body: TAGS });
      await ask('DeleteObjectTagging', 'DELETE', '/clips/object?tagging=');
    }
    const created = await ask('CreateMultipartUpload', 'POST', '/clips/parts?uploads=', { body: '' });
    const id = uploadIdIn(created.body.toString());
    const part = await ask('UploadPart', 'PUT', `/clips/parts?partNumber=1&uploadId=${id}`, { body: 'part' });
    const etag = part.headers.get('etag');
    await ask('CompleteMultipartUpload', 'POST', `/clips/parts?uploadId=${id}`, {
      body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
    });
    const other = uploadIdIn(
      (await ask('another', 'POST', '/clips/other?uploads=', { body: '' })).body.toString(),
    );
    await ask('AbortMultipartUpload', 'DELETE', `/clips/other?uploadId=${other}`);
    await ask('DeleteObjects', 'POST', '/clips?delete=', {
      body: DELETE,
      headers: [`content-md5: ${hash(DELETE, 'base64')}`],
    });
    await ask('DeleteObject', 'DELETE', '/clips/object');
    await ask('DeleteObject of none', 'DELETE', '/clips/none');
    await ask('DeleteBucket', 'DELETE', '/another');
  });
