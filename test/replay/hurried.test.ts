// What an operator wants sent now is known after a restart.

import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { LinkNature } from '../../src/replay/allowed.ts';
import { Hurried } from '../../src/replay/hurried.ts';
import { put } from '../../src/store/conformance.ts';
import { logger } from '../../src/telemetry/log.ts';
import { destinationOf } from '../queue/scene.ts';
import { testdir } from '../rig/testdir.ts';
import { startReplay } from './scene.ts';

const log = logger('queue');
log.level = 'silent';

const lte: LinkNature = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false };

t.test(
  'what was asked for is there after a restart, what has left is not, and the file stays small',
  async (t) => {
    const file = join(testdir(t), 'send-now');
    let hurried = new Hurried(file, log);
    await Promise.all(['a', 'b', 'c'].map((id) => hurried.add(id)));
    hurried.delete('b');
    await hurried.close();
    appendFileSync(file, '+torn');
    hurried = new Hurried(file, log);
    t.same(
      ['a', 'b', 'c', 'torn'].map((id) => hurried.has(id)),
      [true, false, true, false],
    );
    for (let n = 0; n < 3_000; n++) {
      const added = hurried.add(`x${n}`);
      hurried.delete(`x${n}`);
      if (n % 500 === 0) await added;
    }
    await hurried.close();
    t.ok(
      readFileSync(file, 'utf8').length < 20_000,
      `${readFileSync(file, 'utf8').length} bytes for two ids`,
    );
    hurried = new Hurried(file, log);
    t.same(
      ['a', 'c', 'x1'].map((id) => hurried.has(id)),
      [true, true, false],
    );
  },
);

t.test('an entry that shall go now goes after a restart, over a link that the policy forbids', async (t) => {
  const video = destinationOf('video');
  const scene = await startReplay(t, { ...video, replay: { ...video.replay, metered: 'deny' } });
  scene.nature = lte;
  const link = (up: boolean) => scene.replay.link('video', { up, by: 'override', since: 0 });
  link(false);
  const head = { destination: 'video', orderKey: '' };
  await put(scene.store, 'waits', { ...head, url: 'http://video.example/waits' });
  const wanted = await put(scene.store, 'wanted', { ...head, url: 'http://video.example/wanted' });
  t.equal(await scene.replay.hurry(wanted), true);
  await scene.again();
  await scene.until(() => scene.asked.length > 0);
  await scene.until(() => scene.store.totals().get('video')?.entries === 1);
  t.same(
    scene.asked.map(({ path }) => path),
    ['/wanted'],
  );
});
