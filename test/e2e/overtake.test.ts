// Destinations do not wait for each other: an urgent entry goes at once beside a long upload, and what accepts and never answers
// holds nobody back.

import { randomFillSync } from 'node:crypto';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { startIntercept } from '../rig/intercept.ts';
import { bytesSent, MIB, makeS3Scene, partsSent } from './s3-scene.ts';
import { randomFile } from './scene.ts';

t.setTimeout(300_000);

t.test('an urgent entry overtakes a long upload of a lower class', { skip: noGo }, async (t) => {
  const stuck = await startIntercept('http://127.0.0.1:9');
  t.teardown(() => stuck.close());
  stuck.meddle = ({ path }) => (path === '/takes-nothing' ? 'stop-reading' : 'swallow');
  const scene = await makeS3Scene(t, {
    cam: { store: { mode: 'always', class: 'bulk' }, replay: { rate: '32Mbit/s', retry: { max: '1s' } } },
    others: (way) => [
      { name: 'alarm', url: way.url, sign: true, store: { mode: 'always', class: 'evidence' } },
      { name: 'stuck', url: stuck.url, store: { mode: 'always', class: 'evidence' } },
    ],
  });
  const { way, layby } = scene;
  const call = (host: string, path: string, body: Buffer) =>
    curl(`http://${host}.example${path}`, { method: 'PUT', via: layby.outbound, body, maxTime: 20 });

  t.equal((await call('stuck', '/takes-nothing', randomFillSync(Buffer.alloc(4 * MIB)))).status, 307);
  t.equal((await call('stuck', '/never-answers', Buffer.from('x'))).status, 307);
  const file = await randomFile(scene.dir, 'clip', 40 * MIB);
  await scene.store('long.mp4', { file: file.path });
  await way.until(() => bytesSent(way) > 6 * MIB);
  const stored = performance.now();
  t.equal((await call('alarm', '/clips/alarm.json', Buffer.from('{"alarm":1}'))).status, 307);
  await way.until((all) => all.some(({ path, told }) => path === '/clips/alarm.json' && told));
  const took = performance.now() - stored;
  t.ok(took < 1_000, `${took} ms from the request of the app to the answer of the destination`);
  t.ok(bytesSent(way) < 40 * MIB, 'the long one is still under way');
  await layby.untilQueue((lines) => lines.every(({ destination }) => destination === 'stuck'), 60_000);
  t.equal(partsSent(way).length, 8, 'it went on where it was');
  t.match(await scene.s3.objects(), [{ key: 'alarm.json' }, { key: 'long.mp4', sha256: file.sha256 }]);
});
