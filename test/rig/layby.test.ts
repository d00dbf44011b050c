// Starting, watching and killing Layby, tried on a stand-in with the same command line: the product proves itself elsewhere.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type LaybyOptions, startLayby } from './layby.ts';
import { makeRoad, noRoad } from './namespaces.ts';
import { isAlive, partOf } from './processes.ts';
import { noStrace, straceOf } from './strace.ts';
import { testdir } from './testdir.ts';

const program = fileURLToPath(new URL('fixtures/layby.js', import.meta.url));

const start = async (t: Test, options: Partial<LaybyOptions> = {}) => {
  const layby = await startLayby({
    program,
    data: join(testdir(t), 'data'),
    policy: 'kind: Destination\n',
    ...options,
  });
  t.teardown(() => layby.kill9('all'));
  return layby;
};

t.test('a part is known by its command line', async (t) => {
  const names = {
    'layby up': ['/x/node', '/repo/bin/layby.js', 'up', '--data', 'd'],
    'control-plane': ['node', '--title', 'bin/layby.js', 'control-plane'],
    queue: ['layby queue'],
    replay: ['node', '/repo/src/replay/main.ts'],
    envoy: ['/cache/envoy', '-c', 'layby.yaml'],
    strace: ['strace', '-f', 'node', 'bin/layby.js', 'up'],
  };
  for (const [name, argv] of Object.entries(names)) t.equal(partOf(argv), name);
});

t.test('it is started, asked and stopped', async (t) => {
  const layby = await start(t);
  t.same(
    layby
      .pids()
      .map(({ name }) => name)
      .sort(),
    ['layby up', 'queue'],
  );
  t.match(await layby.untilLine((line) => line.includes('started')), /started/);
  t.match(layby.log(), [{ msg: 'started' }]);
  t.same(await layby.queue(), []);
  t.match(await layby.status(), { link: 'up' });
  await t.resolves(layby.link('down', 'dashcam'));
  await t.rejects(layby.link('up'));
  t.same(
    [...(await layby.metrics())],
    [
      ['a{b="c d"}', 1],
      ['b', 2.5],
    ],
  );
  t.ok(layby.rssAnon('layby up') > 1_000_000);
  t.match(await layby.stop(), { code: 0, left: [] });
});

t.test('what it leaves behind is found, also with a clean environment, and ended', async (t) => {
  const layby = await start(t, { extraArgs: ['--leave'] });
  const queue = layby.pidOf('queue');
  t.match(await layby.stop(), { code: 0, left: [{ pid: queue, name: 'queue' }] });
  t.notOk(isAlive(queue));
});

t.test('one part is killed, or all at once', async (t) => {
  const layby = await start(t);
  const [main, queue] = [layby.pidOf('layby up'), layby.pidOf('queue')];
  await layby.kill9('queue');
  t.ok(isAlive(main));
  t.notOk(isAlive(queue));
  t.throws(() => layby.pidOf('queue'), /no process queue runs/);
  await layby.kill9('all');
  t.equal(await layby.ended, null);
  t.same(layby.pids(), []);
});

t.test('an end before it is ready is an error with its words', async (t) => {
  await t.rejects(start(t, { extraArgs: ['--fail'] }), /ended with 1 before it was ready:\n.*port in use/);
});

t.test('it runs in the vehicle', { skip: noRoad }, async (t) => {
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const layby = await start(t, { road });
  t.equal(layby.outbound, '127.0.0.1:15001');
  t.equal((await layby.get('/healthz')).status, 200);
  t.same(await layby.queue(), []);
  t.match(await layby.stop(), { code: 0, left: [] });
});

t.test('it runs under strace', { skip: noStrace }, async (t) => {
  const wrap = straceOf({ calls: ['fdatasync'], out: join(testdir(t), 'trace') });
  const layby = await start(t, { wrap });
  t.match(await layby.stop(), { code: 0 });
});
