// A request that the sidecar sends again, since the queue died before its answer.

import { randomBytes, randomUUID } from 'node:crypto';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

t.test('a request that was committed before its answer was lost is stored once', async (t) => {
  const use = await scene(testdir(t), [destinationOf('dashcam')]);
  t.teardown(use.stop);
  const id = randomUUID();
  const body = randomBytes(200_000);
  const first = await use.put('/clip.mp4', body, 'dashcam.example', { 'layby-request': id });
  t.equal(first.headers['layby-entry'], id);
  await use.restart();
  const again = await use.put('/clip.mp4', body, 'dashcam.example', { 'layby-request': id });
  t.equal(again.status, 307);
  t.equal(again.headers['layby-entry'], id);
  t.equal(JSON.parse((await use.admin('/v1/queue')).text).length, 1);
});

t.test('an id that is none is not taken', async (t) => {
  const use = await scene(testdir(t), [destinationOf('dashcam')]);
  t.teardown(use.stop);
  const { headers } = await use.put('/a', Buffer.from('a'), 'dashcam.example', {
    'layby-request': '../../etc',
  });
  t.match(headers['layby-entry'], /^[0-9a-f-]{36}$/);
});
