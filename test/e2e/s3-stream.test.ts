// A body of unknown length to S3, which takes none: it becomes a multipart upload while it streams. The app gets S3's answer; where the way
// is lost it gets one receipt, and the same upload goes on behind, no part sent twice.

import { randomFillSync } from 'node:crypto';
import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { type CurlAnswer, curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { BUCKET, bytesSent, MIB, makeS3Scene, partsSent, type S3Scene } from './s3-scene.ts';
import { outcomesAtTheQueue, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(300_000);

const skip = noGo;

interface Streaming {
  /** So much of the body, MiB, from byte to byte. */
  send(mib: number): void;
  end(): Promise<CurlAnswer>;
  /** The app dies. */
  die(): Promise<CurlAnswer>;
  answer: Promise<CurlAnswer>;
}

/** An app that streams this body as it gets it. */
const stream = ({ layby }: S3Scene, key: string, body: Buffer, headers: string[] = []): Streaming => {
  const pieces = new PassThrough({ highWaterMark: 1024 * MIB });
  const death = new AbortController();
  const answer = curl(`http://cam.example/${BUCKET}/${key}`, {
    ...{ via: layby.outbound, body: { stream: pieces }, maxTime: 60, headers, signal: death.signal },
  });
  let at = 0;
  return {
    answer,
    send: (mib) => {
      pieces.write(body.subarray(at, at + mib * MIB));
      at += mib * MIB;
    },
    end: () => {
      pieces.end(body.subarray(at));
      return answer;
    },
    die: () => {
      death.abort();
      return answer;
    },
  };
};

const randomBody = (mib: number): Buffer => randomFillSync(Buffer.alloc(mib * MIB));

const taken = (scene: S3Scene) =>
  partsSent(scene.way)
    .filter(({ status }) => status === 200)
    .map(({ number }) => number)
    .sort((a, b) => a - b);

const uploadsBegun = ({ way }: S3Scene) =>
  way.exchanges.filter(({ path }) => /[?&]uploads/.test(path)).length;

const uploadsLeft = async (scene: S3Scene) =>
  (await scene.ask('GET', `/${BUCKET}?uploads=`)).body.toString().match(/<Upload>/g)?.length ?? 0;

const online = async (t: Test, cam = {}) => {
  const scene = await makeS3Scene(t, { cam: { store: { mode: 'failover' }, ...cam } });
  await untilSidecar(scene.layby);
  return scene;
};

t.test('online it goes in parts while it streams, and the app gets the answer of S3', { skip }, async (t) => {
  const scene = await online(t);
  const body = randomBody(23);
  const app = stream(scene, 'live.mp4', body, ['content-type: video/mp4', 'x-amz-meta-camera: front']);
  app.send(11);
  await scene.way.until(() => taken(scene).length === 2);
  const answer = await app.end();
  t.equal(answer.status, 200);
  const { headers } = await scene.ask('HEAD', `/${BUCKET}/live.mp4`);
  t.equal(answer.headers.get('etag'), headers.get('etag'));
  t.equal(headers.get('content-type'), 'video/mp4');
  t.equal(headers.get('x-amz-meta-camera'), 'front');
  t.match(await scene.s3.objects(), [{ key: 'live.mp4', sha256: sha256(body) }]);
  t.same(taken(scene), [1, 2, 3, 4, 5]);
  t.equal(uploadsBegun(scene), 1);
  t.same(await scene.layby.queue(), []);
  t.match(await outcomesAtTheQueue(scene.layby), { cut_through: 1 });
});

t.test('a body that ends before a part is full is one PUT, with its length', { skip }, async (t) => {
  const scene = await online(t);
  const body = randomBody(3);
  const answer = await stream(scene, 'small.mp4', body).end();
  t.equal(answer.status, 200);
  t.match(await scene.s3.objects(), [{ key: 'small.mp4', sha256: sha256(body) }]);
  t.match(scene.way.exchanges, [{ method: 'PUT', headers: { 'content-length': `${3 * MIB}` } }]);
  const { headers } = await scene.ask('HEAD', `/${BUCKET}/small.mp4`);
  t.equal(answer.headers.get('etag'), headers.get('etag'));
});

t.test('what S3 refuses the app hears, and the upload is aborted', { skip }, async (t) => {
  const scene = await online(t);
  await scene.ask('PUT', `/${BUCKET}/taken.mp4`, ['--data-binary', 'first']);
  const refused = await stream(scene, 'taken.mp4', randomBody(7), ['if-none-match: *']).end();
  t.equal(refused.status, 412);
  t.match(refused.body.toString(), /PreconditionFailed/);
  await scene.way.until((all) => all.some(({ method, status }) => method === 'DELETE' && status === 204));
  t.equal(await uploadsLeft(scene), 0);
  t.same(await scene.layby.queue(), []);
});

t.test('cut in the middle, the same upload goes on behind, and no part goes twice', { skip }, async (t) => {
  const scene = await online(t);
  const body = randomBody(32);
  const app = stream(scene, 'cut.mp4', body);
  app.send(12);
  await scene.way.until(() => taken(scene).length === 2);
  scene.way.cut();
  app.send(10);
  const receipt = await app.end();
  t.equal(receipt.status, 307);
  t.equal((await scene.layby.queue()).length, 1);
  scene.way.restore();
  await untilDrained(scene.layby);
  t.match(await scene.s3.objects(), [{ key: 'cut.mp4', bytes: 32 * MIB, sha256: sha256(body) }]);
  t.same(taken(scene), [1, 2, 3, 4, 5, 6, 7]);
  t.equal(uploadsBegun(scene), 1);
  t.comment(`${bytesSent(scene.way) / MIB} MiB sent for 32`);
});

t.test('an app that goes away leaves nothing, and its upload is aborted', { skip }, async (t) => {
  const scene = await online(t);
  const app = stream(scene, 'gone.mp4', randomBody(12));
  app.send(12);
  await scene.way.until(() => taken(scene).length === 2);
  await app.die();
  await scene.way.until((all) => all.some(({ method, status }) => method === 'DELETE' && status === 204));
  t.equal(await uploadsLeft(scene), 0);
  t.same(await scene.s3.objects(), []);
  t.same(await scene.layby.queue(), []);
});

t.test('the queue dies in the middle: nothing is whole, and the upload is aborted', { skip }, async (t) => {
  const scene = await online(t);
  const app = stream(scene, 'killed.mp4', randomBody(12));
  app.send(12);
  await scene.way.until(() => taken(scene).length === 2);
  await scene.layby.kill9('queue');
  const broken = await app.end();
  t.ok(broken.exitCode !== 0 || broken.status >= 500, `${broken.exitCode} ${broken.status}`);
  await scene.way.until((all) => all.some(({ method, status }) => method === 'DELETE' && status === 204));
  t.equal(await uploadsLeft(scene), 0);
  t.same(await scene.s3.objects(), []);
});
