// Large objects go to a strict S3 server in parts, and nothing is sent twice but what a cut or a kill -9 tore: at most one part for
// each that was under way.

import { randomFillSync } from 'node:crypto';
import t from 'tap';
import { type CurlAnswer, curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { type Intercept, startIntercept } from '../rig/intercept.ts';
import { BUCKET, bytesSent, MIB, makeS3Scene, partsSent } from './s3-scene.ts';
import { randomFile, sha256, untilDrained } from './scene.ts';

t.setTimeout(600_000);

const skip = noGo;

t.test('an object goes in parts, and all that was said of it is kept', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const file = await randomFile(scene.dir, 'clip', 12 * MIB + 17);
  await scene.store('2026/%E3%81%82+b%20(1)~.mp4', { file: file.path }, [
    'content-type: video/mp4',
    'cache-control: max-age=60',
    'content-disposition: attachment; filename="a b.mp4"',
    'x-amz-meta-camera: front',
    'x-amz-tagging: trip=17',
  ]);
  await untilDrained(scene.layby);
  const [object] = await scene.s3.objects();
  t.match(object, { key: '2026/あ+b (1)~.mp4', bytes: 12 * MIB + 17, sha256: file.sha256 });
  t.same(
    partsSent(scene.way)
      .map(({ number, status }) => [number, status])
      .sort(),
    [
      [1, 200],
      [2, 200],
      [3, 200],
    ],
  );
  const path = `/${BUCKET}/2026/%E3%81%82%2Bb%20%281%29~.mp4`;
  const { headers } = await scene.ask('HEAD', path, ['-H', 'x-amz-checksum-mode: ENABLED']);
  t.equal(headers.get('content-type'), 'video/mp4');
  t.equal(headers.get('cache-control'), 'max-age=60');
  t.equal(headers.get('content-disposition'), 'attachment; filename="a b.mp4"');
  t.equal(headers.get('x-amz-meta-camera'), 'front');
  t.ok(headers.get('x-amz-checksum-crc32c'), 'of the whole object');
  t.equal(headers.get('x-amz-checksum-type'), 'FULL_OBJECT');
  const tags = await scene.ask('GET', `${path}?tagging=`);
  t.match(tags.body.toString(), /<Key>trip<\/Key><Value>17<\/Value>/);
  t.same((await scene.ask('GET', `/${BUCKET}?uploads=`)).body.toString().match(/<Upload>/g), null);
});

t.test('after kill -9 and cuts it goes on where it was', { skip }, async (t) => {
  const scene = await makeS3Scene(t, { cam: { replay: { rate: '64Mbit/s', retry: { max: '1s' } } } });
  const { way, layby } = scene;
  const file = await randomFile(scene.dir, 'clip', 40 * MIB);
  await scene.store('long.mp4', { file: file.path });
  await way.until(() => bytesSent(way) > 12 * MIB);
  await layby.kill9('queue');
  await way.until(() => bytesSent(way) > 24 * MIB);
  way.cut();
  setTimeout(() => way.restore(), 300);
  await way.until(() => partsSent(way).filter(({ status }) => status === 200).length >= 7);
  await layby.kill9('queue');
  await untilDrained(layby);
  t.match(await scene.s3.objects(), [{ bytes: 40 * MIB, sha256: file.sha256 }]);
  const parts = partsSent(way);
  const taken = parts.filter(({ status }) => status === 200).map(({ number }) => number);
  t.same(
    taken.sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8],
    'no part that was taken came again',
  );
  const torn = parts.length - 8;
  t.ok(torn >= 1 && torn <= 6, `${torn} parts were torn by three breaks, with two under way`);
  t.comment(`${torn} torn, ${bytesSent(way) / MIB} MiB sent for 40`);
});

t.test('a completion whose answer is lost is settled without sending again', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way, layby } = scene;
  let lost = 0;
  way.meddle = ({ method, path }) =>
    method === 'POST' && /[?&]uploadId=/.test(path) && lost++ === 0 ? 'lose-answer' : 'pass';
  const file = await randomFile(scene.dir, 'clip', 11 * MIB);
  await scene.store('lost.mp4', { file: file.path }, ['if-none-match: *']);
  await untilDrained(layby);
  t.equal(lost, 1, 'completed once');
  t.match(await scene.s3.objects(), [{ key: 'lost.mp4', sha256: file.sha256 }]);
  t.equal(partsSent(way).length, 3);
  t.ok(
    way.exchanges.some(({ method, status }) => method === 'HEAD' && status === 200),
    'by a HEAD',
  );
});

t.test('a part whose answer is lost is settled by ListParts', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way } = scene;
  let lost = 0;
  way.meddle = ({ path }) => (/partNumber=2/.test(path) && lost++ === 0 ? 'lose-answer' : 'pass');
  const file = await randomFile(scene.dir, 'clip', 11 * MIB);
  await scene.store('part.mp4', { file: file.path });
  await untilDrained(scene.layby);
  t.equal(lost, 1);
  t.equal(partsSent(way).length, 3);
  t.match(await scene.s3.objects(), [{ key: 'part.mp4', sha256: file.sha256 }]);
});

t.test('an upload that a lifecycle rule removed begins anew', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way } = scene;
  let removed: Promise<CurlAnswer> | undefined;
  way.meddle = async ({ method, path }) => {
    const uploadId = /partNumber=2&(uploadId=.*)/.exec(path)?.[1];
    if (method !== 'PUT' || uploadId === undefined || removed) return 'pass';
    removed = scene.ask('DELETE', `/${BUCKET}/anew.mp4?${uploadId}`);
    await removed;
    return { status: 503 };
  };
  // Two parts, so that none is on its way while the upload is removed: versitygw keeps a ghost of it then.
  const file = await randomFile(scene.dir, 'clip', 6 * MIB);
  await scene.store('anew.mp4', { file: file.path });
  await untilDrained(scene.layby);
  const removal = await removed;
  t.equal(removal?.status, 204, `${removal?.body}`);
  t.equal(way.exchanges.filter(({ path }) => /[?&]uploads/.test(path)).length, 2);
  t.match(await scene.s3.objects(), [{ key: 'anew.mp4', sha256: file.sha256 }]);
});

t.test('If-None-Match is kept: what is there stays, and the entry is a dead letter', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way, layby } = scene;
  for (const key of ['taken.mp4', 'taken.txt'])
    await scene.ask('PUT', `/${BUCKET}/${key}`, ['--data-binary', 'first']);
  const second = await scene.store('taken.mp4', randomFillSync(Buffer.alloc(7 * MIB)), ['if-none-match: *']);
  const small = await scene.store('taken.txt', 'small', ['if-none-match: *']);
  const lines = await layby.untilQueue(
    (all) => all.length === 2 && all.every(({ state }) => state === 'dead'),
  );
  t.same(lines.map(({ id }) => id).sort(), [second, small].sort());
  const first = sha256(Buffer.from('first'));
  t.match(await scene.s3.objects(), [
    { key: 'taken.mp4', sha256: first },
    { key: 'taken.txt', sha256: first },
  ]);
  await way.until((all) => all.some(({ method, path }) => method === 'DELETE' && /uploadId=/.test(path)));
  const uploads = await scene.ask('GET', `/${BUCKET}?uploads=`);
  t.notMatch(uploads.body.toString(), /<Upload>/, 'what was given up is taken back');
});

t.test('S3 says 200 and then an error: it is tried again', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way } = scene;
  let said = 0;
  way.meddle = ({ method, path }) =>
    method === 'POST' && /[?&]uploadId=/.test(path) && said++ === 0
      ? {
          status: 200,
          body: '<?xml version="1.0"?>\n  <Error><Code>InternalError</Code><Message>try again</Message></Error>',
        }
      : 'pass';
  const body = randomFillSync(Buffer.alloc(6 * MIB));
  await scene.store('late.mp4', body);
  await untilDrained(scene.layby);
  t.equal(said, 2);
  t.equal(partsSent(way).length, 2);
  t.match(await scene.s3.objects(), [{ key: 'late.mp4', sha256: sha256(body) }]);
});

t.test('what S3 refuses to put together is sent anew, once', { skip }, async (t) => {
  const scene = await makeS3Scene(t);
  const { way, layby } = scene;
  way.meddle = ({ method, path }) =>
    method === 'POST' && /[?&]uploadId=/.test(path)
      ? { status: 400, body: '<Error><Code>InvalidPart</Code></Error>' }
      : 'pass';
  await scene.store('odd.mp4', randomFillSync(Buffer.alloc(6 * MIB)));
  await layby.untilQueue(([line]) => line?.state === 'dead');
  t.equal(way.exchanges.filter(({ path }) => /[?&]uploads/.test(path)).length, 2);
  await way.until(
    (all) => all.filter(({ method, status }) => method === 'DELETE' && status === 204).length === 2,
  );
});

t.test('a server without those checksums gets MD5s', async (t) => {
  const scene = await makeS3Scene(t, { server: 'rclone' });
  const { way } = scene;
  let lost = 0;
  way.meddle = ({ method, path }) =>
    method === 'POST' && /[?&]uploadId=/.test(path) && lost++ === 0 ? 'lose-answer' : 'pass';
  const file = await randomFile(scene.dir, 'clip', 11 * MIB);
  await scene.store('plain.mp4', { file: file.path });
  await untilDrained(scene.layby);
  t.match(await scene.s3.objects(), [{ key: 'plain.mp4', sha256: file.sha256 }]);
  const sent = way.exchanges.filter(({ path }) => /partNumber=/.test(path));
  t.equal(sent.length, 3);
  t.ok(sent.every(({ headers }) => headers['content-md5'] !== undefined));
});

for (const [conflicts, times] of [
  [1, 'once'],
  [2, 'twice'],
] as const)
  t.test(`where its completion conflicts ${times}, an object was sent ${times}`, { skip }, async (t) => {
    const scene = await makeS3Scene(t);
    const { way } = scene;
    let left: number = conflicts;
    way.meddle = ({ method, path }) =>
      method === 'POST' && /[?&]uploadId=/.test(path) && left-- > 0
        ? { status: 409, body: '<Error><Code>ConditionalRequestConflict</Code></Error>' }
        : 'pass';
    const body = randomFillSync(Buffer.alloc(6 * MIB));
    await scene.store('taken.mp4', body, ['if-none-match: *']);
    await untilDrained(scene.layby);
    t.equal(Math.round(bytesSent(way) / MIB), 6 * conflicts);
    t.match(await scene.s3.objects(), [{ key: 'taken.mp4', sha256: sha256(body) }]);
    t.notMatch((await scene.ask('GET', `/${BUCKET}?uploads=`)).body.toString(), /<Upload>/);
  });

t.test(
  'a bucket in another region is followed to a destination of the policy, and to no other',
  { skip },
  async (t) => {
    let tokyo: Intercept | undefined;
    const scene = await makeS3Scene(t, {
      others: async (_, s3) => {
        tokyo = await startIntercept(s3.url);
        t.teardown(() => tokyo!.close());
        return [{ name: 'tokyo', url: tokyo.url, sign: true }];
      },
    });
    const { way, layby } = scene;
    const elsewhere = { host: new URL(tokyo!.url).host };
    way.meddle = () => ({
      status: 301,
      headers: { 'x-amz-bucket-region': 'us-east-1' },
      body: `<Error><Code>PermanentRedirect</Code><Endpoint>${elsewhere.host}</Endpoint></Error>`,
    });
    await scene.store('small.txt', 'small');
    const large = randomFillSync(Buffer.alloc(6 * MIB));
    await scene.store('large.mp4', large);
    await untilDrained(layby);
    t.match(
      (await scene.s3.objects()).sort((a, b) => a.bytes - b.bytes),
      [
        { key: 'small.txt', bytes: 5 },
        { key: 'large.mp4', sha256: sha256(large) },
      ],
    );
    t.equal(bytesSent(way), 5, 'of the large one only the question went to the wrong place');
    elsewhere.host = 'evil.example';
    const id = await scene.store('lost.txt', 'small');
    const [line] = await layby.untilQueue(([first]) => first?.state === 'dead');
    t.match(line, { id, reason: /the bucket is in region us-east-1, at evil\.example/ });
  },
);

t.test("an app's own completion whose answer is lost is no dead letter", { skip }, async (t) => {
  const scene = await makeS3Scene(t, { cam: { store: { mode: 'always', receipt: 's3' } } });
  const { way, layby } = scene;
  const key = `/${BUCKET}/own.mp4`;
  const app = (method: string, query: string, body?: string) =>
    curl(`http://cam.example${key}?${query}`, {
      ...{ method, via: layby.outbound, maxTime: 30, ...(body !== undefined && { body }) },
    });
  const begin = async (): Promise<string> => {
    const created = await scene.ask('POST', `${key}?uploads=`);
    return /<UploadId>([^<]+)/.exec(created.body.toString())![1]!;
  };
  const uploadId = await begin();
  const part = await scene.ask('PUT', `${key}?partNumber=1&uploadId=${uploadId}`, [
    '--data-binary',
    'all of it',
  ]);
  const xml = (etag: string) =>
    `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`;
  let lost = 0;
  // As S3 says it a while after the completion, and of an upload that never was; this server takes the same completion again.
  const gone = { status: 404, body: '<Error><Code>NoSuchUpload</Code></Error>' };
  way.meddle = ({ method }) => (method !== 'POST' ? 'pass' : lost++ === 0 ? 'lose-answer' : gone);
  t.equal((await app('POST', `uploadId=${uploadId}`, xml(part.headers.get('etag')!))).status, 200);
  await untilDrained(layby);
  t.match(
    way.exchanges.map(({ method, status }) => `${method} ${status}`),
    ['POST 200', 'POST 404', 'HEAD 200'],
  );
  t.match(await scene.s3.objects(), [{ key: 'own.mp4', bytes: 9 }]);

  const other = await app('POST', `uploadId=${uploadId}`, xml('"0123456789abcdef0123456789abcdef"'));
  t.equal(other.status, 200);
  const [line] = await layby.untilQueue(([first]) => first?.state === 'dead');
  t.match(line, { reason: /NoSuchUpload/ }, 'another object is at the key: this upload is lost');
});
