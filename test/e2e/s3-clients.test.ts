// Real S3 clients, unmodified and with keys of nobody's, while S3 is there and while it is not: they see the same, and what they did
// arrives at a real S3 server.

import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { awsSdk, sdkClient } from '../rig/clients/aws-sdk.ts';
import { boto3 } from '../rig/clients/on-python.ts';
import { noPython } from '../rig/clients/python.ts';
import type { Call, Result } from '../rig/clients/s3-app.ts';
import { noGo } from '../rig/go.ts';
import { startLayby } from '../rig/layby.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const BUCKET = 'dashcam';
const MIB = 1024 * 1024;

const scene = async (t: Test) => {
  const dir = testdir(t);
  // The strict one, where it can be had.
  const s3 = await startS3({
    server: noGo ? 'rclone' : 'versitygw',
    dir: join(dir, 's3'),
    buckets: [BUCKET],
  });
  t.teardown(() => s3.stop());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      name: 's3',
      hosts: ['localhost'],
      url: s3.url,
      sign: true,
      store: { receipt: 'auto', listings: 'pending' },
    }),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  const file = async (name: string, bytes: number) => {
    const content = randomBytes(bytes);
    await mkdir(join(dir, 'files'), { recursive: true });
    const path = join(dir, 'files', name);
    await writeFile(path, content);
    return { path, content, sha256: sha256(content) };
  };
  const endpoint = { url: `http://localhost:${layby.outbound.split(':').at(-1)}`, bucket: BUCKET };
  return { s3, layby, endpoint, file };
};

const unlike = (result: Result | undefined): boolean => result !== undefined && !('error' in result);

for (const [app, skip] of [
  [awsSdk, false],
  [boto3, noPython],
] as const)
  t.test(`${app.name} sees the same with a link and without`, { skip }, async (t) => {
    const { s3, layby, endpoint, file } = await scene(t);
    const small = await file('small', 2000);
    const medium = await file('medium', 3 * MIB);
    const large = await file('large', 17 * MIB);
    const journey = (at: string): Call[] => [
      { op: 'bucket' },
      { op: 'put', key: `${at}/small`, file: small.path, as: 'bytes', meta: { cam: 'front' } },
      { op: 'put', key: `${at}/odd +~あ&=@:,$;()'!*`, file: small.path, as: 'bytes' },
      { op: 'put', key: `${at}/medium`, file: medium.path, as: 'stream' },
      { op: 'put', key: `${at}/medium-bytes`, file: medium.path, as: 'bytes' },
      { op: 'upload', key: `${at}/large`, file: large.path },
      { op: 'head', key: `${at}/small` },
      { op: 'get', key: `${at}/medium` },
      { op: 'get', key: `${at}/large`, range: 'bytes=5242870-5242889' },
      { op: 'get', key: `${at}/odd +~あ&=@:,$;()'!*` },
      { op: 'list', prefix: `${at}/` },
      { op: 'delete', key: `${at}/small` },
      { op: 'get', key: `${at}/small` },
      { op: 'deleteMany', keys: [`${at}/medium`, `${at}/never there`] },
      { op: 'list', prefix: `${at}/` },
    ];
    const plain = (results: Result[], at: string) =>
      JSON.parse(JSON.stringify(results).replaceAll(`"${at}/`, '"')) as Result[];

    const online = plain(await app.run(endpoint, journey('on')), 'on');
    t.same(online[7], { etag: (online[7] as { etag: string }).etag, bytes: 3 * MIB, sha256: medium.sha256 });
    await untilDrained(layby);
    await layby.link('down');
    const offline = plain(await app.run(endpoint, journey('off')), 'off');
    t.same(offline, online);
    t.same(offline[8], {
      ...offline[8],
      bytes: 20,
      sha256: sha256(large.content.subarray(5242870, 5242890)),
    });
    t.match(offline[12], { error: 'NoSuchKey', status: 404 });
    const [copied, other] = await app.run(endpoint, [
      { op: 'copy', from: 'on/large', key: 'off/copy' },
      { op: 'get', key: 'on/large' },
    ]);
    t.match([copied, other], [{ status: 503 }, { status: 503 }], 'what only S3 can do is refused');
    await layby.link('auto');
    await untilDrained(layby);
    const objects = (await s3.objects()).map(({ key, sha256: sum }) => [key, sum]);
    const kept = ['large', 'medium-bytes', "odd +~あ&=@:,$;()'!*"];
    const sums = [large.sha256, medium.sha256, small.sha256];
    const expected = ['off', 'on'].flatMap((at) => kept.map((key, i) => [`${at}/${key}`, sums[i]]));
    t.same(new Map(objects as [string, string][]), new Map(expected as [string, string][]));
    t.ok(unlike((await app.run(endpoint, [{ op: 'head', key: 'off/large' }]))[0]));
  });

t.test(
  'an upload goes on across the loss and the return of the link, and kill -9 of the queue',
  async (t) => {
    const { s3, layby, endpoint, file } = await scene(t);
    const client = sdkClient(endpoint);
    t.teardown(() => client.destroy());
    const parts = [await file('1', 6 * MIB), await file('2', 5 * MIB), await file('3', 1000)];
    const whole = sha256(Buffer.concat(parts.map(({ content }) => content)));
    const to = (Key: string) => ({ Bucket: BUCKET, Key });
    let starts = 1;
    const killQueue = async () => {
      await layby.kill9('queue');
      starts += 1;
      let seen = 0;
      await layby.untilLine((line) => line.includes('"store open"') && ++seen === starts);
    };
    const send = async (key: string, UploadId: string | undefined, number: number) => {
      const { ETag } = await client.send(
        new UploadPartCommand({
          ...to(key),
          UploadId,
          PartNumber: number,
          Body: parts[number - 1]!.content,
        }),
      );
      return { PartNumber: number, ETag };
    };
    const end = (
      key: string,
      UploadId: string | undefined,
      Parts: { PartNumber: number; ETag: string | undefined }[],
    ) =>
      client.send(new CompleteMultipartUploadCommand({ ...to(key), UploadId, MultipartUpload: { Parts } }));

    const { UploadId: theirs } = await client.send(new CreateMultipartUploadCommand(to('begun/online')));
    const one = [await send('begun/online', theirs, 1)];
    await layby.link('down');
    one.push(await send('begun/online', theirs, 2));

    const { UploadId: ours } = await client.send(new CreateMultipartUploadCommand(to('begun/offline')));
    t.match(ours, /^layby-/);
    const two = [await send('begun/offline', ours, 1)];
    await killQueue();
    two.push(await send('begun/offline', ours, 2));
    one.push(await send('begun/online', theirs, 3));
    t.ok((await end('begun/online', theirs, one)).ETag?.endsWith('-3"'));
    await killQueue();
    await layby.link('auto');
    await layby.untilQueue((lines) => lines.every(({ state }) => state === 'staged'));
    two.push(await send('begun/offline', ours, 3));
    t.ok(
      (await end('begun/offline', ours, two)).ETag?.endsWith('-3"'),
      'the id is good when the link is back',
    );
    await untilDrained(layby);
    t.same(
      (await s3.objects()).map(({ key, sha256: sum }) => [key, sum]),
      [
        ['begun/offline', whole],
        ['begun/online', whole],
      ],
    );
  },
);
