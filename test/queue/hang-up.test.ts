// A client may hang up at any moment. Whatever its request waits for at that moment, nothing of it stays: no pending lane, order gate,
// spool, reservation, open writer or open upstream request; and the queue is through with it.

import { randomUUID } from 'node:crypto';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import type { AwaitPoint } from './await-points.ts';
import { hangUpScene, type Path, readAndAnswer, type Scene } from './hang-up-scene.ts';
import { bucketOf, framed, md5 } from './s3/bucket.ts';
import { listedBy } from './s3/fake-listing.ts';
import { destinationOf } from './scene.ts';

t.setTimeout(180_000);

const KIB = 1024;
const MIB = 1024 * KIB;
const chunksOf = (count: number, bytes: number): Buffer[] =>
  Array.from({ length: count }, (_, at) => Buffer.alloc(bytes, at + 1));

let made = 0;
/** A destination of its own for each path. */
const to = (store: Partial<Destination['store']> = {}): Destination =>
  destinationOf(`d${made++}`, { mode: 'failover', order: 'key', ...store });
const toS3 = (store: Partial<Destination['store']> = {}): Destination => {
  const name = `b${made++}`;
  return { ...bucketOf({ mode: 'failover', ...store }), name, hosts: [`${name}.example`] };
};
/** Of S3, where it is reached. */
const s3Answers: Path['answer'] = async (incoming, response, { points }) => {
  await points.at('the destination reads');
  const body: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) body.push(chunk);
  await points.at('the destination answers');
  if (incoming.method === 'PUT') response.writeHead(200, { etag: `"${md5(Buffer.concat(body))}"` });
  else response.writeHead(200, { 'content-type': 'application/xml' });
  if (incoming.url!.endsWith('?uploads='))
    response.write(
      '<InitiateMultipartUploadResult><UploadId>theirs</UploadId></InitiateMultipartUploadResult>',
    );
  else if (incoming.method === 'POST')
    response.write('<CompleteMultipartUploadResult><ETag>"1-1"</ETag></CompleteMultipartUploadResult>');
  response.end();
};

/** Reads nothing. */
const refuseEarly: Path['answer'] = async (_, response, { points }) => {
  await points.at('the destination refuses');
  response.writeHead(413);
  for (let sent = 0; sent < 3 && !response.destroyed; sent += 1) {
    await points.at('the destination sends a chunk');
    response.write(Buffer.alloc(64 * KIB));
  }
  response.end();
};

const created = async (scene: Scene): Promise<string> =>
  /<UploadId>([^<]+)/.exec((await scene.ask({ method: 'POST', path: '/b/k?uploads' })).text)![1]!;
const withPart = async (scene: Scene): Promise<string> => {
  const id = await created(scene);
  const chunks = [Buffer.from('part')];
  await scene.ask({ method: 'PUT', path: `/b/k?partNumber=1&uploadId=${id}`, chunks });
  return id;
};
const listOf = (etag: string): Buffer =>
  Buffer.from(
    `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
  );
const urlIn = ({ hosts }: Destination, path: string): string => `http://${hosts[0]}${path}`;

const small = { method: 'PUT', path: '/a', chunks: chunksOf(3, 3 * KIB) };
const large = { method: 'PUT', path: '/a', chunks: chunksOf(3, 512 * KIB) };

const evicting = { quota: 64 * KIB, whenFull: 'evict', class: 'urgent' } as const;
const withBulk = async (scene: Scene) => {
  for (let n = 0; n < 3; n += 1) await scene.put({ url: 'http://x/bulk', class: 0 }, Buffer.alloc(16 * KIB));
  return {};
};
const asking = to();
const status = to();
const reading = to();
const deleted = toS3();
const object = toS3();

const PATHS: Path[] = [
  { name: 'stored', destination: to(), request: small },
  { name: 'stored, of unknown length', destination: to(), request: { ...large, sized: false } },
  {
    name: 'stored, after the client was told to go on',
    destination: to(),
    request: { ...small, headers: { expect: '100-continue' } },
  },
  {
    name: 'stored, with a hold that is never in force',
    destination: to(),
    unheld: true,
    at: /held/,
    request: small,
  },
  {
    name: 'stored before, and sent again',
    destination: to(),
    before: async (scene) => {
      const id = randomUUID();
      await scene.put({ id }, Buffer.from('1'));
      return { headers: { 'layby-request': id } };
    },
    request: small,
  },
  {
    name: 'stored, by eviction',
    destination: to(evicting),
    before: withBulk,
    request: { ...small, chunks: chunksOf(3, 16 * KIB) },
  },
  {
    name: 'stored, by eviction while it comes',
    destination: to(evicting),
    before: withBulk,
    request: { ...small, chunks: chunksOf(3, 16 * KIB), sized: false },
  },
  {
    name: 'in segments',
    destination: to({ stream: { segment: { bytes: 4 * KIB, time: 60_000, name: '{path}/{n}' } } }),
    request: { ...small, sized: false },
  },
  { name: 'cut through', destination: to(), up: true, request: large },
  {
    name: 'cut through, and lost before its answer',
    destination: to(),
    up: true,
    answer: async (incoming, response, { points }) => {
      for await (const _ of incoming);
      await points.at('the destination is lost');
      response.destroy();
    },
    request: large,
  },
  {
    name: 'cut through, and lost in the middle',
    destination: to(),
    up: true,
    answer: async (incoming, response) => {
      let bytes = 0;
      for await (const chunk of incoming as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > 600 * KIB) break;
      }
      response.destroy();
    },
    request: { ...large, sized: false },
  },
  {
    name: 'cut through with patience, and answered in time',
    destination: to({ patience: 60_000 }),
    up: true,
    request: large,
  },
  {
    name: 'cut through with patience, and answered after that',
    destination: to({ patience: 20 }),
    up: true,
    answer: async (incoming, response, scene) => {
      await scene.points.at('the destination reads');
      for await (const _ of incoming);
      await scene.points.at('the destination is slow');
      await scene.ended();
      response.end();
    },
    request: large,
  },
  {
    name: 'cut through, and refused early',
    destination: to(),
    up: true,
    answer: refuseEarly,
    request: large,
  },
  {
    name: 'cut through with patience, and refused early',
    destination: to({ patience: 60_000 }),
    up: true,
    answer: refuseEarly,
    request: { ...large, sized: false },
  },
  {
    name: 'passed on, and refused early',
    destination: to({ mode: 'never' }),
    up: true,
    answer: refuseEarly,
    request: { ...large, method: 'PATCH' },
  },
  {
    name: 'passed on, and lost before its end',
    destination: to({ mode: 'never' }),
    up: true,
    answer: async (_, response, { points }) => {
      await points.at('the destination is lost');
      response.destroy();
    },
    request: { ...large, method: 'PATCH' },
  },
  {
    name: 'cut through, and answered with a success early',
    destination: to(),
    up: true,
    answer: async (incoming, response, { points }) => {
      response.writeHead(200);
      response.write('early');
      await points.at('the destination reads');
      for await (const _ of incoming);
      response.end();
    },
    request: large,
  },
  { name: 'refused for want of room, before its body', destination: to({ quota: 1 }), request: large },
  {
    name: 'refused for want of room, in its body',
    destination: to({ quota: 600 * KIB }),
    request: { ...large, sized: false },
  },
  {
    name: 'cut through where other things of its lane wait',
    destination: asking,
    up: true,
    before: async (scene) => {
      await scene.drains({ url: urlIn(asking, '/other') });
      return {};
    },
    request: large,
  },
  {
    name: 'read from the store',
    destination: reading,
    before: async (scene) => {
      await scene.put({ url: urlIn(reading, '/a'), orderKey: '' }, Buffer.alloc(3 * MIB));
      return {};
    },
    request: { method: 'GET', path: '/a' },
  },
  {
    name: 'read from the destination',
    destination: to(),
    up: true,
    answer: (incoming, response, scene) => readAndAnswer(incoming, response, scene, 20),
    request: { method: 'GET', path: '/a' },
  },
  {
    name: 'passed on with a body',
    destination: to({ mode: 'never' }),
    up: true,
    request: { ...large, method: 'PATCH', sized: false },
  },
  { name: 'refused, since there is no link', destination: to(), request: { ...small, method: 'PATCH' } },
  {
    name: 'the status page of an entry',
    destination: status,
    before: async (scene) => {
      const { id } = await scene.put({ url: urlIn(status, '/a') }, Buffer.from('1'));
      return { path: `/.well-known/layby/entries/${id}` };
    },
    request: { method: 'GET', path: '' },
  },
  {
    name: 'the status page of an entry that has left, with the body again',
    destination: to(),
    before: async (scene) => {
      const { id } = await scene.put({}, Buffer.from('1'));
      await scene.store.drop(id, 'dropped', 'the test');
      return { path: `/.well-known/layby/entries/${id}` };
    },
    request: { ...small, path: '' },
  },
  { name: 'an object of S3, stored', destination: toS3(), request: { ...small, path: '/b/k' } },
  {
    name: "an object of S3 in S3's own frames, stored",
    destination: toS3(),
    request: {
      ...{ method: 'PUT', path: '/b/k', chunks: [framed(Buffer.alloc(20 * KIB), '', KIB)] },
      headers: {
        'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
        'x-amz-decoded-content-length': String(20 * KIB),
      },
    },
  },
  {
    name: 'an object of S3, cut through',
    destination: toS3(),
    up: true,
    answer: s3Answers,
    request: { ...large, path: '/b/k' },
  },
  {
    name: 'an object of S3 of unknown length, cut through as one',
    destination: toS3(),
    up: true,
    answer: s3Answers,
    request: { ...large, path: '/b/k', sized: false },
  },
  {
    name: 'an object of S3 of unknown length, cut through in parts, and refused early',
    destination: toS3(),
    up: true,
    answer: refuseEarly,
    request: { method: 'PUT', path: '/b/k', chunks: chunksOf(3, 2 * MIB), sized: false },
  },
  {
    name: 'an object of S3 of unknown length, cut through in parts',
    destination: toS3(),
    up: true,
    answer: s3Answers,
    request: { method: 'PUT', path: '/b/k', chunks: chunksOf(3, 2 * MIB), sized: false },
  },
  {
    name: 'the beginning of an upload in parts',
    destination: toS3(),
    request: { method: 'POST', path: '/b/k?uploads' },
  },
  {
    name: 'the beginning of an upload in parts, passed on',
    destination: toS3(),
    up: true,
    answer: s3Answers,
    request: { method: 'POST', path: '/b/k?uploads' },
  },
  {
    name: "a part of the queue's own upload",
    destination: toS3(),
    before: async (scene) => ({ path: `/b/k?partNumber=1&uploadId=${await created(scene)}` }),
    request: small,
  },
  {
    name: "the end of the queue's own upload",
    destination: toS3(),
    before: async (scene) => ({ path: `/b/k?uploadId=${await withPart(scene)}` }),
    request: { method: 'POST', path: '', chunks: [listOf(md5('part'))] },
  },
  {
    name: "the queue's own upload, aborted",
    destination: toS3(),
    before: async (scene) => ({ path: `/b/k?uploadId=${await withPart(scene)}` }),
    request: { method: 'DELETE', path: '' },
  },
  {
    name: "the parts of the queue's own upload",
    destination: toS3(),
    before: async (scene) => ({ path: `/b/k?uploadId=${await withPart(scene)}` }),
    request: { method: 'GET', path: '' },
  },
  {
    name: 'a part of an upload that S3 knows, stored',
    destination: toS3(),
    request: { ...small, path: '/b/k?partNumber=1&uploadId=theirs' },
  },
  {
    name: 'the end of an upload that S3 knows, stored',
    destination: toS3(),
    request: { method: 'POST', path: '/b/k?uploadId=theirs', chunks: [listOf(md5('part'))] },
  },
  {
    name: 'objects of S3 that are deleted together',
    destination: deleted,
    request: {
      ...{ method: 'POST', path: '/b?delete' },
      chunks: [Buffer.from('<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>')],
    },
  },
  {
    name: 'an object of S3, read from the store',
    destination: object,
    before: async (scene) => {
      await scene.put({ url: urlIn(object, '/b/k') }, Buffer.alloc(MIB));
      return {};
    },
    request: { method: 'GET', path: '/b/k' },
  },
  {
    name: 'objects of S3, listed of what the bucket has and what waits',
    destination: toS3({ mode: 'always' }),
    before: async (scene) => {
      await scene.ask({ method: 'PUT', path: '/b/k', chunks: [Buffer.from('1')] });
      return {};
    },
    answer: async (_, response, { points }) => {
      await points.at('the destination answers');
      response.end(listedBy(new Set(['a', 'z']), '/b?list-type=2'));
    },
    request: { method: 'GET', path: '/b?list-type=2' },
  },
  {
    name: 'objects of S3, listed from the store',
    destination: toS3({ listings: 'pending' }),
    before: async (scene) => {
      await scene.ask({ method: 'PUT', path: '/b/k', chunks: [Buffer.from('1')] });
      return {};
    },
    request: { method: 'GET', path: '/b?list-type=2' },
  },
];

/** Of moments with one name, which may be hundreds: the first, the second, one in the middle, and the last. */
const chosen = (counts: ReadonlyMap<string, number>): AwaitPoint[] =>
  [...counts].flatMap(([name, count]) =>
    [...new Set([1, Math.min(2, count), Math.ceil(count / 2), count])].map((nth) => ({ name, nth })),
  );

t.test('a client hangs up at each moment of', async (t) => {
  const scene = await hangUpScene(t, PATHS);
  t.teardown(() => scene.stop());
  for (const path of PATHS)
    await t.test(path.name, async (t) => {
      scene.use(path);
      t.same(await scene.run(undefined), [], 'where it does not hang up');
      const points = chosen(scene.points.counts).filter(({ name }) => path.at?.test(name) ?? true);
      for (const point of points) {
        const left = await scene.run(point);
        if (left.length > 0) return void t.same(left, [], `${point.name}, ${point.nth}`);
      }
      t.ok(points.length >= 2, `${points.length}: ${[...scene.points.counts.keys()].join(', ')}`);
    });
});
