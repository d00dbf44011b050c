// What a client library can ask of S3 about objects, at a strict S3 server directly, through the mesh, without a link, and while a lane
// drains. No answer through the mesh is half a truth, none is a 500, and none is missing.
//
// Each cell of the table is `same` (status, error code and the fields of the answer are those of the server itself), `stored` (a receipt,
// with those fields but for the ones named), `pending` or `merged` (the same, of what waits or with it), or `503`.

import { join } from 'node:path';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  DeleteObjectTaggingCommand,
  GetBucketLocationCommand,
  GetObjectAclCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  S3Client,
  S3ServiceException,
  SelectObjectContentCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { noGo } from '../rig/go.ts';
import { type Meddling, startIntercept } from '../rig/intercept.ts';
import { startLayby } from '../rig/layby.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilDirect, untilSidecar } from './scene.ts';

t.setTimeout(300_000);

const BUCKET = 'clips';
const BODY = Buffer.from('0123456789');
/** Nothing here takes so long, ms. */
const HANGS = 60_000;

type Send = (command: unknown) => Promise<Record<string, unknown>>;
type Run = (send: Send, at: string) => Promise<unknown>;
type Cell = 'same' | 'stored' | 'pending' | 'merged' | '503';

/** An operation with what the mesh makes of it: with a link, without, while a lane drains. */
type Row = [name: string, cells: [online: Cell, offline: Cell, draining: Cell], run: Run];

const to = (Key: string) => ({ Bucket: BUCKET, Key });
const tagging = (Value: string) => ({ Tagging: { TagSet: [{ Key: 'k', Value }] } });

/** An upload that is begun here, with one part. */
const begun = async (send: Send, key: string): Promise<{ UploadId: string; ETag: string }> => {
  const { UploadId } = (await send(new CreateMultipartUploadCommand(to(key)))) as { UploadId: string };
  const { ETag } = (await send(
    new UploadPartCommand({ ...to(key), UploadId, PartNumber: 1, Body: BODY }),
  )) as { ETag: string };
  return { UploadId, ETag };
};

/** `there`: at the server alone. `waits`: put without a link, where there is none; a moment ago, elsewhere. */
const ROWS: Row[] = [
  [
    'PutObject',
    ['same', 'stored', 'same'],
    (send, at) => send(new PutObjectCommand({ ...to(`${at}new`), Body: BODY })),
  ],
  [
    'PutObject, behind one that waits',
    ['same', 'stored', 'stored'],
    (send, at) => send(new PutObjectCommand({ ...to(`${at}again`), Body: BODY })),
  ],
  [
    'PutObject, with a wrong checksum',
    ['same', 'same', 'same'],
    (send, at) => send(new PutObjectCommand({ ...to(`${at}new`), Body: BODY, ChecksumCRC32: 'AAAAAA==' })),
  ],
  [
    'PutObject, with tags that are none',
    ['same', 'same', 'same'],
    (send, at) => send(new PutObjectCommand({ ...to(`${at}bad`), Body: BODY, Tagging: 'a=1&a=2' })),
  ],
  [
    'PutObject, if none is there, which waits',
    ['same', 'same', 'same'],
    (send, at) => send(new PutObjectCommand({ ...to(`${at}waits`), Body: BODY, IfNoneMatch: '*' })),
  ],
  ['GetObject, there', ['same', '503', 'same'], (send, at) => send(new GetObjectCommand(to(`${at}there`)))],
  [
    'GetObject, nowhere',
    ['same', '503', 'same'],
    (send, at) => send(new GetObjectCommand(to(`${at}nowhere`))),
  ],
  [
    'GetObject, waits',
    ['same', 'pending', 'pending'],
    (send, at) => send(new GetObjectCommand(to(`${at}waits`))),
  ],
  [
    'GetObject, its checksum',
    ['same', 'pending', 'pending'],
    (send, at) => send(new GetObjectCommand({ ...to(`${at}waits`), ChecksumMode: 'ENABLED' })),
  ],
  [
    'GetObject, a range',
    ['same', 'pending', 'pending'],
    (send, at) => send(new GetObjectCommand({ ...to(`${at}waits`), Range: 'bytes=2-4' })),
  ],
  [
    'GetObject, a range outside',
    ['same', 'same', 'same'],
    (send, at) => send(new GetObjectCommand({ ...to(`${at}waits`), Range: 'bytes=20-' })),
  ],
  [
    'GetObject, unchanged',
    ['same', 'same', 'same'],
    (send, at) =>
      send(new GetObjectCommand({ ...to(`${at}waits`), IfNoneMatch: '"781e5e245d69b566979b86e28d23f2c7"' })),
  ],
  [
    'GetObject, another',
    ['same', 'same', 'same'],
    (send, at) => send(new GetObjectCommand({ ...to(`${at}waits`), IfMatch: '"0"' })),
  ],
  [
    'GetObject, deleted',
    ['same', 'pending', 'pending'],
    (send, at) => send(new GetObjectCommand(to(`${at}gone`))),
  ],
  [
    'GetObject, part 1',
    ['same', 'pending', 'pending'],
    (send, at) => send(new GetObjectCommand({ ...to(`${at}waits`), PartNumber: 1 })),
  ],
  ['HeadObject, there', ['same', '503', 'same'], (send, at) => send(new HeadObjectCommand(to(`${at}there`)))],
  [
    'HeadObject, waits',
    ['same', 'pending', 'pending'],
    (send, at) => send(new HeadObjectCommand(to(`${at}waits`))),
  ],
  [
    'HeadObject, deleted',
    ['same', 'pending', 'pending'],
    (send, at) => send(new HeadObjectCommand(to(`${at}gone`))),
  ],
  [
    'GetObjectAttributes, waits',
    ['same', '503', '503'],
    (send, at) =>
      send(new GetObjectAttributesCommand({ ...to(`${at}waits`), ObjectAttributes: ['ObjectSize'] })),
  ],
  [
    'GetObjectAttributes, there',
    ['same', '503', 'same'],
    (send, at) =>
      send(new GetObjectAttributesCommand({ ...to(`${at}there`), ObjectAttributes: ['ObjectSize'] })),
  ],
  [
    'GetObjectTagging, waits',
    ['same', '503', '503'],
    (send, at) => send(new GetObjectTaggingCommand(to(`${at}waits`))),
  ],
  [
    'GetObjectTagging, there',
    ['same', '503', 'same'],
    (send, at) => send(new GetObjectTaggingCommand(to(`${at}there`))),
  ],
  [
    'GetObjectAcl, waits',
    ['same', '503', '503'],
    (send, at) => send(new GetObjectAclCommand(to(`${at}waits`))),
  ],
  [
    'GetObjectAcl, there',
    ['same', '503', 'same'],
    (send, at) => send(new GetObjectAclCommand(to(`${at}there`))),
  ],
  [
    'SelectObjectContent',
    ['same', '503', '503'],
    (send, at) =>
      send(
        new SelectObjectContentCommand({
          ...to(`${at}there`),
          ...{ ExpressionType: 'SQL', Expression: 'SELECT * FROM S3Object' },
          ...{ InputSerialization: { CSV: {} }, OutputSerialization: { CSV: {} } },
        }),
      ),
  ],
  [
    'PutObjectTagging',
    ['same', 'stored', 'same'],
    (send, at) => send(new PutObjectTaggingCommand({ ...to(`${at}there`), ...tagging('v') })),
  ],
  [
    'PutObjectTagging, invalid',
    ['same', 'same', 'same'],
    (send, at) => send(new PutObjectTaggingCommand({ ...to(`${at}there`), ...tagging('v'.repeat(257)) })),
  ],
  [
    'DeleteObjectTagging',
    ['same', 'stored', 'same'],
    (send, at) => send(new DeleteObjectTaggingCommand(to(`${at}tagged`))),
  ],
  [
    // Nothing waits for its two objects.
    'CopyObject',
    ['same', '503', 'same'],
    (send, at) => send(new CopyObjectCommand({ ...to(`${at}copy`), CopySource: `${BUCKET}/${at}there` })),
  ],
  [
    'ListObjectsV2',
    ['same', '503', 'merged'],
    (send, at) => send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${at}list/` })),
  ],
  [
    'ListObjectsV2, of folders',
    ['same', '503', 'merged'],
    (send, at) => send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${at}list/`, Delimiter: '/' })),
  ],
  [
    'ListObjectsV2, a page, with owners',
    ['same', '503', 'merged'],
    (send, at) =>
      send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${at}list/`, MaxKeys: 2, FetchOwner: true })),
  ],
  [
    'ListObjects',
    ['same', '503', 'merged'],
    (send, at) => send(new ListObjectsCommand({ Bucket: BUCKET, Prefix: `${at}list/` })),
  ],
  [
    'ListObjectsV2, of what nothing waits for',
    ['same', '503', 'same'],
    (send) => send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: 'untouched/' })),
  ],
  [
    'ListObjectVersions',
    ['same', '503', '503'],
    (send, at) => send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: `${at}list/` })),
  ],
  ['ListBuckets', ['same', '503', 'same'], (send) => send(new ListBucketsCommand({}))],
  ['HeadBucket', ['same', 'pending', 'same'], (send) => send(new HeadBucketCommand({ Bucket: BUCKET }))],
  [
    'GetBucketLocation',
    ['same', 'pending', 'same'],
    (send) => send(new GetBucketLocationCommand({ Bucket: BUCKET })),
  ],
  [
    'CreateMultipartUpload',
    ['same', 'pending', 'pending'],
    (send, at) => send(new CreateMultipartUploadCommand({ ...to(`${at}begun`), ChecksumAlgorithm: 'CRC32' })),
  ],
  ['UploadPart', ['same', 'stored', 'stored'], (send, at) => begun(send, `${at}parts`)],
  [
    'ListParts',
    ['same', 'pending', 'pending'],
    async (send, at) =>
      send(
        new ListPartsCommand({ ...to(`${at}parts`), UploadId: (await begun(send, `${at}parts`)).UploadId }),
      ),
  ],
  [
    'ListParts, of no upload',
    ['same', '503', 'same'],
    (send, at) =>
      send(new ListPartsCommand({ ...to(`${at}parts`), UploadId: 'b6eaa7f0-5f5e-4a1e-9f1c-0d8c1d6a1f11' })),
  ],
  [
    'UploadPartCopy',
    ['same', '503', '503'],
    async (send, at) => {
      const { UploadId } = await begun(send, `${at}parts`);
      return send(
        new UploadPartCopyCommand({
          ...to(`${at}parts`),
          UploadId,
          PartNumber: 2,
          CopySource: `${BUCKET}/${at}there`,
        }),
      );
    },
  ],
  [
    'CompleteMultipartUpload',
    ['same', 'stored', 'stored'],
    async (send, at) => {
      const { UploadId, ETag } = await begun(send, `${at}whole`);
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
      return send(new CompleteMultipartUploadCommand({ ...to(`${at}whole`), UploadId, MultipartUpload }));
    },
  ],
  [
    'CompleteMultipartUpload, of a part that is none',
    ['same', 'same', 'same'],
    async (send, at) => {
      const { UploadId, ETag } = await begun(send, `${at}whole`);
      const MultipartUpload = { Parts: [{ PartNumber: 2, ETag }] };
      return send(new CompleteMultipartUploadCommand({ ...to(`${at}whole`), UploadId, MultipartUpload }));
    },
  ],
  [
    'AbortMultipartUpload',
    ['same', 'pending', 'pending'],
    async (send, at) => {
      const { UploadId } = await begun(send, `${at}ended`);
      return send(new AbortMultipartUploadCommand({ ...to(`${at}ended`), UploadId }));
    },
  ],
  [
    'ListMultipartUploads',
    ['same', '503', 'same'],
    (send) => send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: 'untouched/' })),
  ],
  ['DeleteObject', ['same', 'stored', 'same'], (send, at) => send(new DeleteObjectCommand(to(`${at}del`)))],
  [
    'DeleteObjects',
    ['same', 'pending', 'pending'],
    (send, at) =>
      send(
        new DeleteObjectsCommand({
          Bucket: BUCKET,
          Delete: { Objects: [{ Key: `${at}del1` }, { Key: `${at}no` }] },
        }),
      ),
  ],
];

/** What not all servers say, or say otherwise than AWS: checksums that nobody asked for, the class STANDARD. */
const OF_THIS_SERVER = /^(Checksum\w+|StorageClass|AccessPointAlias|EncodingType|Marker)$/;

interface Answer {
  status: number;
  /** The code of S3's error, or the fields of the answer. */
  what: string;
  headers: Record<string, string>;
}

/** Names of fields, of lists those of the first element. Which request it was is no field. */
const fieldsOf = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.slice(0, 1).map(fieldsOf);
  if (typeof value !== 'object' || value === null || value.constructor !== Object) return typeof value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, inner]) => name !== '$metadata' && inner !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, name === 'Body' ? 'stream' : fieldsOf(inner)]),
  );
};

/** The fields that every server says. */
const common = (what: string): unknown => {
  const strip = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(strip)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value)
              .filter(([name]) => !OF_THIS_SERVER.test(name))
              .map(([name, inner]) => [name, strip(inner)]),
          )
        : value;
  if (!what.startsWith('{')) return what;
  // Of what was put, versitygw's alone.
  const { Size: _, ...fields } = JSON.parse(what) as Record<string, unknown>;
  return strip(fields);
};

const clientOf = (endpoint: string, credentials: { accessKeyId: string; secretAccessKey: string }) => {
  const client = new S3Client({
    ...{ endpoint, credentials, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1 },
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  let last: { statusCode: number; headers: Record<string, string> } = { statusCode: 0, headers: {} };
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      last = result.response as typeof last;
      return result;
    },
    { step: 'deserialize', priority: 'low' },
  );
  const send: Send = (command) =>
    client.send(command as PutObjectCommand, { abortSignal: AbortSignal.timeout(HANGS) }) as never;
  return {
    client,
    send,
    ask: async (run: Run, at: string): Promise<Answer> => {
      last = { statusCode: 0, headers: {} };
      try {
        const output = await run(send, at);
        const { Body } = output as { Body?: { transformToByteArray(): Promise<Uint8Array> } };
        if (Body) await Body.transformToByteArray();
        return { status: last.statusCode, what: JSON.stringify(fieldsOf(output)), headers: last.headers };
      } catch (error) {
        // An answer that the library cannot read (of SelectObjectContent, where it is none) has a status all the same.
        if (!(error instanceof Error) || error.name === 'TimeoutError' || last.statusCode === 0) throw error;
        const what = error instanceof S3ServiceException ? error.name : 'unread';
        return { status: last.statusCode, what, headers: last.headers };
      }
    },
  };
};

type Client = ReturnType<typeof clientOf>;

/** What is at the server before anything is asked, in each state below a prefix of its own. */
const prepare = async ({ send }: Client, at: string): Promise<void> => {
  for (const key of ['there', 'tagged', 'del', 'del1', 'gone', 'list/a', 'list/b/1', 'list/c'])
    await send(new PutObjectCommand({ ...to(at + key), Body: BODY, Tagging: 'k=v' }));
};

/** What waits, where it cannot be sent. */
const wait = async ({ send }: Client, at: string): Promise<void> => {
  for (const key of ['waits', 'again', 'list/d', 'list/b/2'])
    await send(new PutObjectCommand({ ...to(at + key), Body: BODY, Tagging: 'k=v' }));
  for (const key of ['gone', 'list/c']) await send(new DeleteObjectCommand(to(at + key)));
};

const scene = async (t: Test) => {
  const dir = testdir(t);
  const s3 = await startS3({ server: 'versitygw', dir: join(dir, 's3'), buckets: [BUCKET] });
  t.teardown(() => s3.stop());
  const way = await startIntercept(s3.url);
  t.teardown(() => way.close());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      ...{ name: 's3', hosts: ['localhost'], url: way.url, sign: true },
      store: { receipt: 'auto' },
    }),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  const direct = clientOf(s3.url, s3);
  const app = clientOf(`http://localhost:${layby.outbound.split(':').at(-1)}`, {
    ...{ accessKeyId: 'APPKEY', secretAccessKey: 'app-secret' },
  });
  t.teardown(() => {
    direct.client.destroy();
    app.client.destroy();
  });
  return { s3, way, layby, direct, app };
};

t.test(
  'every operation is answered as the server would, is stored, or is refused',
  { skip: noGo },
  async (t) => {
    const { way, layby, direct, app } = await scene(t);
    const states = { online: 'on/', offline: 'off/', draining: 'drain/' } as const;
    for (const at of ['direct/', 'untouched/', ...Object.values(states)]) await prepare(direct, at);
    await wait(direct, 'direct/');
    const expected = new Map<string, Answer>();
    for (const [name, , run] of ROWS) expected.set(name, await direct.ask(run, 'direct/'));

    const check = async (state: keyof typeof states): Promise<void> => {
      const column = Object.keys(states).indexOf(state);
      for (const [name, cells, run] of ROWS) {
        const is = await app.ask(run, states[state]);
        const was = expected.get(name)!;
        const title = `${state}: ${name}`;
        const marks = [is.headers['layby-entry'], is.headers['layby-answer']];
        const cell = cells[column]!;
        if (cell === '503') {
          t.same(
            [is.status, is.what.replace(/^(\d+|Unknown.*|unread)$/, 'ServiceUnavailable')],
            [503, 'ServiceUnavailable'],
            title,
          );
          continue;
        }
        const [told, wanted] = cell === 'same' ? [is.what, was.what] : [common(is.what), common(was.what)];
        t.same([is.status, told], [was.status, wanted], `${title} is ${cell}`);
        if (cell === 'stored') t.ok(marks[0], `${title}: a receipt`);
        if (cell === 'merged') t.equal(marks[1], 'merged', title);
        if (cell === 'same') t.notOk(marks[0] && marks[1], `${title}: nobody else answers`);
      }
    };
    await wait(app, states.online);
    await check('online');

    await layby.link('down');
    await wait(app, states.offline);
    await wait(app, states.draining);
    await check('offline');

    // What waits is on its way, and is not answered before the test says so.
    const open = Promise.withResolvers<void>();
    way.meddle = async ({ method, path }): Promise<Meddling> => {
      const [, key = ''] = /^\/clips\/([^?]*)/.exec(path) ?? [];
      const stored = key.startsWith(states.offline) || /^drain\/(waits|again|gone|list)/.test(key);
      if (method !== 'GET' && method !== 'HEAD' && stored) await open.promise;
      return 'pass';
    };
    await layby.link('auto');
    await check('draining');
    const page = { Bucket: BUCKET, Prefix: 'drain/list/', MaxKeys: 2 };
    const keys = (answer: Record<string, unknown>) =>
      (answer.Contents as { Key: string }[]).map(({ Key }) => Key);
    const first = await app.send(new ListObjectsV2Command(page));
    t.same(keys(first), ['drain/list/a', 'drain/list/b/1']);
    open.resolve();
    await layby.untilQueue((lines) => lines.every(({ state }) => state === 'staged'));
    t.same(
      (await layby.untilQueue(() => true)).filter(({ state }) => state === 'dead'),
      [],
      'nothing that had a receipt was refused',
    );
    await untilDirect(layby);
    const ContinuationToken = first.NextContinuationToken as string;
    const second = await app.send(new ListObjectsV2Command({ ...page, ContinuationToken }));
    t.same(keys(second), ['drain/list/b/2', 'drain/list/d'], 'a token is good when nothing waits any more');
  },
);
