// A body of unknown length to S3, which takes none: it becomes a multipart upload while it streams. The app gets S3's answer; where the way
// is lost it gets one receipt, and the same upload goes on behind, no part sent twice.

import { randomFillSync } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type CurlAnswer, curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { BUCKET, bytesSent, MIB, makeS3Scene, partsSent, type S3Scene } from './s3-scene.ts';
import { outcomesAtTheQueue, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

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

t.test('while the app still sends, what is stored follows in the same upload', { skip }, async (t) => {
  const scene = await online(t);
  const { way } = scene;
  const body = randomBody(44);
  let lost = 0;
  way.meddle = ({ path }) => (/partNumber=3/.test(path) && lost++ === 0 ? 'lose-answer' : 'pass');
  const app = stream(scene, 'follow.mp4', body);
  app.send(18);
  await way.until(() => lost > 0);
  // It is noticed with the next piece.
  const noticed = scene.layby.untilLine((line) => /lost in the middle/.test(line)).then(() => true);
  for (let at = 0; at < 4 && !(await Promise.race([noticed, sleep(100)])); at++) app.send(0.25);
  await noticed;
  // With each link uploads are looked for that nobody wants any more: this is none.
  await scene.layby.link('down');
  await scene.layby.link('up');
  // What is sent follows what comes.
  for (let sent = 19; taken(scene).length < 5; sent += 0.25) {
    if (sent < 40) app.send(0.25);
    await sleep(100);
  }
  const before = taken(scene).length;
  const receipt = await app.end();
  t.equal(receipt.status, 307);
  await untilDrained(scene.layby);
  t.match(await scene.s3.objects(), [{ key: 'follow.mp4', bytes: 44 * MIB, sha256: sha256(body) }]);
  t.same(taken(scene), [1, 2, 3, 4, 5, 6, 7, 8, 9], 'each once');
  t.ok(before >= 5 && before < 9, `${before} parts of 9 while the app still sent`);
  t.equal(uploadsBegun(scene), 1);
});

t.test('a stream that begins without a link is sent as soon as there is one', { skip }, async (t) => {
  const scene = await online(t);
  await scene.layby.link('down');
  const body = randomBody(24);
  const app = stream(scene, 'late.mp4', body);
  app.send(12);
  await scene.layby.link('up');
  for (let sent = 12; taken(scene).length < 3; sent += 0.25) {
    if (sent < 20) app.send(0.25);
    await sleep(100);
  }
  t.same(await scene.layby.queue(), [], 'and is no entry yet');
  t.equal((await app.end()).status, 307);
  await untilDrained(scene.layby);
  t.match(await scene.s3.objects(), [{ key: 'late.mp4', sha256: sha256(body) }]);
  t.same(taken(scene), [1, 2, 3, 4, 5], 'each once');
});

t.test('memory does not grow with the body, cut through or followed', { skip }, async (t) => {
  const scene = await online(t);
  const { layby } = scene;
  const body = randomBody(160);
  await stream(scene, 'warm.mp4', randomBody(12)).end();
  const peakDuring = async (task: () => Promise<unknown>) => {
    const before = layby.rssAnon('queue');
    let peak = before;
    const over = new AbortController();
    const sampling = (async () => {
      while (!over.signal.aborted) {
        peak = Math.max(peak, layby.rssAnon('queue'));
        await sleep(10); // The kernel does not tell: a sample is all there is.
      }
    })();
    await task();
    over.abort();
    await sampling;
    return peak - before;
  };
  const through = await peakDuring(async () => {
    t.equal((await stream(scene, 'through.mp4', body).end()).status, 200);
  });
  await layby.link('down');
  const followed = await peakDuring(async () => {
    const app = stream(scene, 'followed.mp4', body);
    app.send(140);
    await layby.link('up');
    for (let sent = 140; taken(scene).length < 6 && sent < 158; sent += 0.25) {
      app.send(0.25);
      await sleep(50);
    }
    t.equal((await app.end()).status, 307);
    await untilDrained(layby);
  });
  t.match(await scene.s3.objects(), [
    { key: 'followed.mp4', sha256: sha256(body) },
    { key: 'through.mp4', sha256: sha256(body) },
    { key: 'warm.mp4' },
  ]);
  t.comment(`${through / MIB} MiB cut through, ${followed / MIB} MiB followed, for ${body.length / MIB} MiB`);
  t.ok(through < 64 * MIB && followed < 64 * MIB);
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
