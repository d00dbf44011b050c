// Programs that look before they act: they mirror what a listing says, ask whether an object is there before they upload it, and fetch it in
// ranges. Unmodified, with their own defaults.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { findRclone } from '../../src/parts/rclone.ts';
import { boto3 } from '../rig/clients/on-python.ts';
import { noPython } from '../rig/clients/python.ts';
import { noGo } from '../rig/go.ts';
import { type Meddling, startIntercept } from '../rig/intercept.ts';
import { startLayby } from '../rig/layby.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const BUCKET = 'dashcam';
const MIB = 1024 * 1024;

const scene = async (t: Test, store: Record<string, unknown> = {}) => {
  const dir = testdir(t);
  const s3 = await startS3({
    server: noGo ? 'rclone' : 'versitygw',
    dir: join(dir, 's3'),
    buckets: [BUCKET],
  });
  t.teardown(() => s3.stop());
  const way = await startIntercept(s3.url);
  t.teardown(() => way.close());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      ...{ name: 's3', hosts: ['localhost'], url: way.url, sign: true },
      store: { receipt: 'auto', ...store },
    }),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  const url = `http://localhost:${layby.outbound.split(':').at(-1)}`;
  const program = await findRclone();
  return {
    ...{ dir, s3, way, layby },
    endpoint: { url, bucket: BUCKET },
    rclone: (...args: string[]) =>
      new Promise<{ code: number; stderr: string }>((resolve) => {
        const env = {
          ...process.env,
          ...{ RCLONE_S3_ENDPOINT: url, RCLONE_S3_PROVIDER: 'Other', RCLONE_S3_REGION: 'us-east-1' },
          ...{ RCLONE_S3_ACCESS_KEY_ID: 'APPKEY', RCLONE_S3_SECRET_ACCESS_KEY: 'app-secret' },
          // What a failure costs, and nothing else: rclone asks for minutes.
          ...{ RCLONE_CONFIG: '/dev/null', RCLONE_RETRIES: '1', RCLONE_LOW_LEVEL_RETRIES: '2' },
        };
        execFile(program, args, { env, timeout: 120_000 }, (error, _, stderr) =>
          resolve({ code: error ? Number(error.code ?? -1) : 0, stderr }),
        );
      }),
    folder: async (name: string, files: readonly string[]) => {
      const at = join(dir, name);
      await mkdir(at, { recursive: true });
      for (const file of files) await writeFile(join(at, file), file);
      return at;
    },
  };
};

const CLIPS = Array.from({ length: 40 }, (_, i) => `clip-${String(i).padStart(2, '0')}`);

t.test('a mirror of the bucket loses nothing without a link, and is whole while a lane drains', async (t) => {
  const { rclone, folder, layby, way, dir } = await scene(t);
  const upload = await folder('upload', CLIPS);
  t.match(await rclone('copy', upload, `:s3:${BUCKET}`), { code: 0 });
  const mirror = join(dir, 'mirror');
  t.match(await rclone('sync', `:s3:${BUCKET}`, mirror), { code: 0 });
  t.same((await readdir(mirror)).sort(), CLIPS);

  await layby.link('down');
  t.not((await rclone('sync', `:s3:${BUCKET}`, mirror)).code, 0, 'it is told');
  t.same((await readdir(mirror)).sort(), CLIPS, 'nothing is deleted');

  const more = await folder('more', ['clip-00-new', 'zz']);
  for (const name of ['clip-00-new', 'zz'])
    t.match(
      await rclone(
        'copyto',
        '--no-check-dest',
        '--s3-no-check-bucket',
        join(more, name),
        `:s3:${BUCKET}/${name}`,
      ),
      {
        code: 0,
      },
    );
  t.match(await rclone('deletefile', `:s3:${BUCKET}/zz`), { code: 0 });

  const open = Promise.withResolvers<void>();
  way.meddle = async ({ method }): Promise<Meddling> => {
    if (method !== 'GET' && method !== 'HEAD') await open.promise;
    return 'pass';
  };
  await layby.link('auto');
  t.match(await rclone('sync', `:s3:${BUCKET}`, mirror), { code: 0 });
  t.same(
    (await readdir(mirror)).sort(),
    [...CLIPS, 'clip-00-new'].sort(),
    'what waits is in it, what is deleted is not',
  );
  open.resolve();
  await untilDrained(layby);
});

t.test('rclone uploads without a link where the policy takes what it does not know for absent', async (t) => {
  const { rclone, folder, layby, s3 } = await scene(t, { unknown: 'absent', listings: 'pending' });
  await layby.link('down');
  const upload = await folder('upload', CLIPS);
  const copied = await rclone('copy', upload, `:s3:${BUCKET}/a`);
  t.equal(copied.code, 0, copied.stderr);
  const single = await rclone('copy', join(upload, CLIPS[0]!), `:s3:${BUCKET}/b`);
  t.equal(single.code, 0, single.stderr);
  const again = await rclone('copy', upload, `:s3:${BUCKET}/a`);
  t.equal(again.code, 0, 'what waits is there, and is not sent again');
  t.equal((await layby.untilQueue(() => true)).length, CLIPS.length + 1);
  await layby.link('auto');
  await untilDrained(layby);
  t.same(
    (await s3.objects()).map(({ key }) => key),
    [...CLIPS.map((name) => `a/${name}`), `b/${CLIPS[0]}`],
  );
});

t.test('boto3 fetches what waits in ranges, and whole', { skip: noPython }, async (t) => {
  const { endpoint, layby, dir } = await scene(t);
  await layby.link('down');
  const content = randomBytes(17 * MIB);
  const file = join(dir, 'large');
  await writeFile(file, content);
  const put = { op: 'put', key: 'k', file, as: 'bytes' } as const;
  const results = await boto3.run(endpoint, [
    put,
    { op: 'get', key: 'k', range: 'bytes=10-19' },
    { op: 'get', key: 'k' },
    // It has a threshold of 8 MiB, above which it asks for ranges.
    { op: 'download', key: 'k', file: join(dir, 'down') },
  ]);
  t.match(results[1], { bytes: 10, sha256: sha256(content.subarray(10, 20)) });
  t.match(results[2], { bytes: content.length, sha256: sha256(content) });
  t.match(results[3], { bytes: content.length, sha256: sha256(content) });
});
