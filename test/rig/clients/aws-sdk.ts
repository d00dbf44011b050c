// The app on the AWS SDK for JavaScript, version 3. In this process; with a `wrap` in one of its own, which is this file as a program.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { run } from '../run.ts';
import type { Call, Result, S3App, S3Endpoint } from './s3-app.ts';

const PACKAGE = new URL('../../../node_modules/@aws-sdk/client-s3/package.json', import.meta.url);

export const sdkClient = ({
  url,
  retries,
  keys = { id: 'APPKEY', secret: 'app-secret' },
}: S3Endpoint): S3Client =>
  new S3Client({
    endpoint: url,
    region: 'us-east-1',
    credentials: { accessKeyId: keys.id, secretAccessKey: keys.secret },
    forcePathStyle: true,
    ...(retries ? {} : { maxAttempts: 1 }),
  });

const SAID = [
  'ContentType',
  'ContentEncoding',
  'ContentLanguage',
  'ContentDisposition',
  'CacheControl',
] as const;

const perform = async (client: S3Client, Bucket: string, call: Call): Promise<Result> => {
  switch (call.op) {
    case 'put': {
      const Body = call.as === 'bytes' ? await readFile(call.file) : createReadStream(call.file);
      const ContentLength = (await stat(call.file)).size;
      const input = { Bucket, Key: call.key, Body, ContentLength, Metadata: call.meta ?? {}, ...call.more };
      const { ETag } = await client.send(new PutObjectCommand(input));
      return { etag: ETag ?? null };
    }
    case 'upload': {
      const params = { Bucket, Key: call.key, Body: createReadStream(call.file) };
      await new Upload({ client, params, queueSize: 2 }).done();
      return {};
    }
    case 'head': {
      const found = await client.send(new HeadObjectCommand({ Bucket, Key: call.key }));
      return { etag: found.ETag ?? null, bytes: found.ContentLength ?? -1, meta: found.Metadata ?? {} };
    }
    case 'download':
    case 'get': {
      const range = call.op === 'get' && call.range ? { Range: call.range } : {};
      const found = await client.send(new GetObjectCommand({ Bucket, Key: call.key, ...range }));
      const body = await found.Body!.transformToByteArray();
      const sha256 = createHash('sha256').update(body).digest('hex');
      return { etag: found.ETag ?? null, bytes: body.length, sha256 };
    }
    case 'list': {
      const keys: string[] = [];
      for await (const page of paginateListObjectsV2(
        { client, pageSize: 2 },
        { Bucket, Prefix: call.prefix },
      ))
        for (const { Key } of page.Contents ?? []) keys.push(Key!);
      return { keys };
    }
    case 'parts': {
      const object = { Bucket, Key: call.key };
      const { UploadId } = await client.send(
        new CreateMultipartUploadCommand({ ...object, Metadata: call.meta ?? {}, ...call.more }),
      );
      const Body = await readFile(call.file);
      const Parts = [];
      for (const PartNumber of [1, 2]) {
        const { ETag } = await client.send(new UploadPartCommand({ ...object, UploadId, PartNumber, Body }));
        Parts.push({ PartNumber, ETag });
      }
      await client.send(
        new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts } }),
      );
      return {};
    }
    case 'describe': {
      const object = { Bucket, Key: call.key };
      const found = await client.send(new GetObjectCommand(object));
      const body = await found.Body!.transformToByteArray();
      const { TagSet = [] } = await client.send(new GetObjectTaggingCommand(object));
      return {
        bytes: body.length,
        sha256: createHash('sha256').update(body).digest('hex'),
        meta: found.Metadata ?? {},
        tags: Object.fromEntries(TagSet.map(({ Key, Value }) => [Key!, Value!])),
        said: Object.fromEntries(SAID.flatMap((name) => (found[name] ? [[name, found[name]]] : []))),
      };
    }
    case 'presign':
    case 'form':
      throw new Error('the package that does this is another');
    case 'delete':
      await client.send(new DeleteObjectCommand({ Bucket, Key: call.key }));
      return {};
    case 'deleteMany': {
      const Objects = call.keys.map((Key) => ({ Key }));
      const { Deleted = [] } = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
      return { keys: Deleted.map(({ Key }) => Key!).sort() };
    }
    case 'copy':
      await client.send(
        new CopyObjectCommand({ Bucket, Key: call.key, CopySource: `${Bucket}/${call.from}` }),
      );
      return {};
    case 'bucket':
      await client.send(new HeadBucketCommand({ Bucket }));
      return {};
  }
};

const runHere = async (endpoint: S3Endpoint, calls: readonly Call[]): Promise<Result[]> => {
  const client = sdkClient(endpoint);
  const results: Result[] = [];
  try {
    for (const call of calls)
      results.push(
        await perform(client, endpoint.bucket, call).catch((error: Error) => ({
          error: error.name,
          status: error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 0) : 0,
        })),
      );
  } finally {
    client.destroy();
  }
  return results;
};

export const awsSdk: S3App = {
  name: 'the AWS SDK for JavaScript',
  skip: false,
  version: async () => (JSON.parse(await readFile(PACKAGE, 'utf8')) as { version: string }).version,
  async run({ wrap, ...endpoint }, calls) {
    if (!wrap) return runHere(endpoint, calls);
    const asked = JSON.stringify({ endpoint, calls });
    const argv = [...wrap, process.execPath, fileURLToPath(import.meta.url), asked];
    return JSON.parse(await run(argv, { timeout: 120_000 })) as Result[];
  },
};

if (import.meta.main) {
  const { endpoint, calls } = JSON.parse(process.argv[2]!) as { endpoint: S3Endpoint; calls: Call[] };
  process.stdout.write(JSON.stringify(await runHere(endpoint, calls)));
}
