// Large objects go to a strict S3 server in parts, and nothing is sent twice but what a cut or a kill -9 tore: at most one part for
// each that was under way.

import { randomFillSync } from 'node:crypto';
import t from 'tap';
import type { CurlAnswer } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
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
  await scene.ask('PUT', `/${BUCKET}/taken.mp4`, ['--data-binary', 'first']);
  const second = await scene.store('taken.mp4', randomFillSync(Buffer.alloc(7 * MIB)), ['if-none-match: *']);
  const small = await scene.store('taken.mp4', 'small', ['if-none-match: *']);
  const lines = await layby.untilQueue(
    (all) => all.length === 2 && all.every(({ state }) => state === 'dead'),
  );
  t.same(lines.map(({ id }) => id).sort(), [second, small].sort());
  t.match(await scene.s3.objects(), [{ key: 'taken.mp4', sha256: sha256(Buffer.from('first')) }]);
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
