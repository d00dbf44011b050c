// S3's virtual-host style through the mesh: a bucket is a part of the host's name for the app, and of the path for S3, online, signed,
// without a link and replayed.

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { BUCKET, MIB, makeS3Scene } from './s3-scene.ts';
import { sha256, untilDirect, untilDrained } from './scene.ts';

t.setTimeout(120_000);

for (const server of noGo ? (['rclone'] as const) : (['rclone', 'versitygw'] as const))
  t.test(`the bucket of the host is that of the object, at ${server}`, async (t) => {
    const { s3, layby, way } = await makeS3Scene(t, {
      server,
      cam: { hosts: ['*.cam.example'], store: { receipt: 'auto' } },
      others: ({ url }) => [{ name: 'raw', hosts: ['*.raw.example'], url, store: { receipt: 's3' } }],
    });
    const expected: Record<string, string> = {};
    const put = async (key: string, bytes: number, status: number) => {
      const body = randomBytes(bytes);
      expected[decodeURIComponent(key)] = sha256(body);
      const answer = await curl(`http://${BUCKET}.cam.example:8080/${key}`, {
        ...{ method: 'PUT', via: layby.outbound, maxTime: 30, body },
      });
      t.equal(answer.status, status, `${key}: ${answer.body}`);
    };
    const get = async (path: string) =>
      curl(`http://${BUCKET}.cam.example${path}`, { via: layby.outbound, maxTime: 30 });
    await put('online/small', 1000, 200);
    await put('online/large', 2 * MIB, 200);
    await put('online/a%20b+c', 1000, 200);
    t.equal(sha256((await get('/online/small')).body), expected['online/small']);
    await layby.link('down');
    await put('offline/small', 1000, 307);
    await put('offline/a%20b', 2 * MIB, 307);
    await put('offline/parts', 6 * MIB, 307);
    t.equal(sha256((await get('/offline/a%20b')).body), expected['offline/a b']);
    await layby.link('auto');
    await untilDrained(layby);
    await untilDirect(layby);
    t.equal(sha256((await get('/offline/small')).body), expected['offline/small'], 'of S3');
    const objects = await s3.objects();
    t.same(Object.fromEntries(objects.map(({ key, sha256 }) => [key, sha256])), expected);
    t.ok(objects.every(({ bucket }) => bucket === BUCKET));

    await curl(`http://${BUCKET}.raw.example/unsigned`, { method: 'HEAD', via: layby.outbound });
    t.equal(way.exchanges.at(-1)?.path, `/${BUCKET}/unsigned`);
    await way.close();
    await put('failed-over', 1000, 307);
    t.match(await layby.queue(), [{ url: `http://cam.example:8080/${BUCKET}/failed-over` }]);
  });
