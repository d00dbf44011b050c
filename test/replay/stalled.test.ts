// When the link is back, what it has left hanging begins again, and what waits for a slow destination is let be.

import t from 'tap';
import { isStalled } from '../../src/replay/stalled.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { read, startReplay } from './scene.ts';

t.setTimeout(60_000);

t.test('a try is cut where it stopped moving as the link was lost', async (t) => {
  const link = { down: 60_000, up: 90_000 };
  const at = (began: number, moved: number, now = 90_000) => isStalled({ began, moved }, link, now);
  t.ok(at(50_000, 59_900), 'in the middle of its body');
  t.ok(at(50_000, 52_000), 'lost some seconds before anybody noticed');
  t.notOk(at(20_000, 21_000), 'all of it was there long before: the destination is slow');
  t.notOk(at(50_000, 89_000), 'it moves, TCP was faster');
  t.ok(at(89_000, 89_100, 93_000), 'begun while the link was down, and nothing since');
  t.notOk(at(90_000, 90_000, 93_100), 'begun since, and the answer takes its time');
  t.notOk(isStalled({ began: 1, moved: 2 }, { down: Number.POSITIVE_INFINITY, up: 0 }, 9_000));
});

t.test('a request to a slow destination, begun when the link came back, is sent once', async (t) => {
  const scene = await startReplay(t, destinationOf('slow'));
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    await answered;
    response.end();
  };
  const link = (up: boolean) => scene.replay.link('slow', { up, by: 'override', since: 0 });
  link(false);
  for (const name of ['empty', 'small'])
    await put(scene.store, name === 'empty' ? '' : 'x', {
      ...{ url: `http://slow.example/${name}`, orderKey: '', destination: 'slow' },
    });
  link(true);
  await scene.until(() => scene.asked.length === 2);
  // Past the second look, which is an event of a clock and of nothing else.
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  t.equal(scene.asked.length, 2, 'neither was sent again');
  answer();
  await scene.until(
    () => scene.store.totals().get('slow')?.entries === 0 || !scene.store.totals().has('slow'),
  );
  t.equal(scene.asked.length, 2);
});
