// Between two parts of an upload the way is not idle: the next one begins while the last one waits for its answer.

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { read, startReplay } from './scene.ts';

const MIB = 1024 * 1024;

t.test('a part begins while the one before it waits for its answer', async (t) => {
  const dashcam = destinationOf('dashcam');
  const scene = await startReplay(t, {
    ...dashcam,
    upstream: { ...dashcam.upstream, sign: { aws: { service: 's3', region: 'us-east-1' } } },
  });
  const parts = new Set<string>();
  /** Of each part: which were there already. */
  const beside: Record<string, string[]> = {};
  scene.answer = async (asked, request, response) => {
    const { searchParams } = new URL(asked.path, 'http://s3.example');
    const part = searchParams.get('partNumber');
    if (part !== null) {
      beside[part] = [...parts];
      parts.add(part);
    }
    await read(asked, request);
    if (part !== null) {
      await sleep(300); // S3 thinks.
      parts.delete(part);
      response.setHeader('etag', `"${part}"`);
      response.end();
    } else if (searchParams.has('uploads')) {
      response.end('<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>');
    } else if (searchParams.has('uploadId') && request.method === 'POST') {
      response.end('<CompleteMultipartUploadResult><ETag>"x-3"</ETag></CompleteMultipartUploadResult>');
    } else response.end();
  };
  await put(scene.store, Buffer.alloc(11 * MIB), { orderKey: '', url: 'http://dashcam.example/bucket/clip' });
  await scene.until(() => scene.store.totals().get('dashcam')?.entries === 0);
  t.equal(scene.asked.filter(({ path }) => path.includes('partNumber')).length, 3, 'each once');
  t.same(beside[1], []);
  t.same(beside[2], ['1'], 'nothing is known of the way yet: one body at a time');
});
