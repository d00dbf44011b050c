// `layby why`, on a queue that really waits: replay gives the state that the words are made of.

import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

t.test('the queue says why an entry waits, and what became of it', async (t) => {
  const use = await scene(testdir(t), [
    {
      ...destinationOf('dashcam', { order: 'key' }),
      replay: { concurrency: 4, resume: 'none', retry: { max: 3_600_000 } },
    },
  ]);
  const why = async (id: string): Promise<string[]> =>
    JSON.parse((await use.admin(`/v1/queue/entries/${id}/why`)).text).why;
  const says = async (id: string, words: RegExp): Promise<string[]> => {
    for (;;) {
      const said = await why(id);
      if (said.some((line) => words.test(line))) return said;
    }
  };
  const store = async (path: string): Promise<string> =>
    String((await use.put(path, Buffer.from('x'))).headers['layby-entry']);

  const first = await store('/clip');
  await says(first, /^dashcam pauses until .* after: no link \(UF\)/);
  const second = await store('/clip');
  await says(second, new RegExp(`^${first} is older, has the same order key, and goes first: `));
  use.answer.status = 503;
  use.answer.body = 'busy';
  use.answer.headers = { 'retry-after': '3600' };
  use.link.up = true;
  await says(first, /^dashcam pauses until .* after: 503: busy \(Retry-After\)$/);
  t.match(await why(first), [/^dashcam/, /^it is tried again at .* after: 503: busy$/]);
  await use.act('/v1/queue/drop', { select: { ids: [first] }, by: 'alice' });
  t.match(await why(first), [/^it was dropped by hand at .*: by alice$/]);
  t.match(await why('00000000-0000-7000-8000-000000000000'), [/was never stored here/]);

  use.answer.status = 410;
  use.answer.headers = {};
  await use.restart();
  t.match(await says(second, /dead letter/), [/^it is a dead letter since .* \(410: busy\)$/, /^to do: /]);
  use.answer.status = 200;
  await use.act('/v1/queue/retry', { select: { ids: [second] } });
  t.match(await says(second, /delivered/), [/^it was delivered at .*: 200$/]);
  await use.stop();
});
