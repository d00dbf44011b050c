// The S3 servers of the rig are real ones: they take a signed upload, refuse an unsigned one, and what they keep is read
// from their disk.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { curl } from './app.ts';
import { noGo } from './go.ts';
import { makeRoad, noRoad, type Road } from './namespaces.ts';
import { type S3Server, startS3 } from './s3.ts';
import { testdir } from './testdir.ts';

const upload = async (t: Test, s3: S3Server, road?: Road): Promise<void> => {
  const body = Buffer.alloc(300_000, 'clip');
  const there = { method: 'PUT', body, maxTime: 10, ...(road ? { road } : {}) };
  const url = `${s3.url}/dashcam/2026/a%20clip.mp4`;
  const signed = [
    '--aws-sigv4',
    `aws:amz:${s3.region}:s3`,
    '--user',
    `${s3.accessKeyId}:${s3.secretAccessKey}`,
  ];
  const hash = createHash('sha256').update(body).digest('hex');
  const headers = [`x-amz-content-sha256: ${hash}`, 'Content-Type: video/mp4'];
  const unsigned = await curl(url, { ...there, headers });
  t.ok([400, 403].includes(unsigned.status), 'unsigned');
  const wrong = await curl(url, {
    ...there,
    headers,
    args: [...signed.slice(0, 3), `${s3.accessKeyId}:wrong`],
  });
  t.equal(wrong.status, 403, 'a wrong signature');
  t.same(await s3.objects(), [], 'nothing is kept of them');
  const answer = await curl(url, { ...there, headers, args: signed });
  t.equal(answer.status, 200, answer.body.toString());
  t.same(await s3.objects(), [{ bucket: 'dashcam', key: '2026/a clip.mp4', bytes: 300_000, sha256: hash }]);
};

t.test('rclone in the cloud takes an upload from the vehicle', { skip: noRoad }, async (t) => {
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const s3 = await startS3({ road, dir: join(testdir(t), 's3'), buckets: ['dashcam'] });
  t.teardown(() => s3.stop());
  await upload(t, s3, road);
});

t.test('versitygw on loopback takes an upload', { skip: noGo, timeout: 600_000 }, async (t) => {
  const s3 = await startS3({ server: 'versitygw', dir: join(testdir(t), 's3'), buckets: ['dashcam'] });
  t.teardown(() => s3.stop());
  await upload(t, s3);
});
