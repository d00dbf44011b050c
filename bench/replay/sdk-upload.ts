// An app that uploads with Amazon's own library, four files at once. Usage: node sdk-upload.ts URL BUCKET DIR COUNT.

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';

const [url = '', Bucket = '', dir = '', count = ''] = process.argv.slice(2);
const client = new S3Client({ endpoint: url, forcePathStyle: true, maxAttempts: 20 });
const names = Array.from({ length: Number(count) }, (_, n) => `${n}.bin`);

const some = async (): Promise<void> => {
  for (let Key = names.shift(); Key !== undefined; Key = names.shift())
    await new Upload({ client, params: { Bucket, Key, Body: createReadStream(join(dir, Key)) } }).done();
};

await Promise.all([some(), some(), some(), some()]);
