// An app that asks before it sends its body (Expect: 100-continue) is answered by who would take it.
//
// Seen to fail: without proxy_100_continue Envoy says 100 by itself, and curl sends a body that is refused.

import t from 'tap';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene, randomFile } from './scene.ts';

t.setTimeout(120_000);

const MB = 1_000_000;

t.test('Expect: 100-continue', { skip: noRoad }, async (t) => {
  const { call, oracle, road, dir } = await makeScene(t, {
    destinations: ({ url }) => [
      { name: 'api', url },
      { name: 'small', url, store: { mode: 'always', quota: '3MB' } },
    ],
  });
  const body = await randomFile(dir, 'body', 5 * MB);
  const put = (url: string, file: string) =>
    call(url, {
      body: { file },
      // Without an answer to its question curl waits this long before it sends.
      args: ['--expect100-timeout', '20', '-w', '%{stderr}sent=%{size_upload}'],
      headers: ['Expect: 100-continue'],
      maxTime: 60,
    });

  const refused = await put('http://small.example/a', body.path);
  t.match(refused, { status: 507, stderr: /sent=0$/ }, 'not a byte of what is refused was sent');
  const little = await randomFile(dir, 'little', 2 * MB);
  const taken = await put('http://small.example/b', little.path);
  t.match(taken, { status: 307, stderr: /sent=2000000$/ });
  t.ok(taken.ms < 10_000, 'it was told to go on');

  for (const [name, path] of Object.entries({
    direct: (await randomFile(dir, 'tiny', 1000)).path,
    through: body.path,
  })) {
    const online = await put(`http://api.example/${name}`, path);
    t.equal(online.status, 200, name);
    t.ok(online.ms < 10_000, 'it was told to go on');
  }
  const down = interfaceDown(road);
  await down.inject();
  t.teardown(() => down.clear());
  for (const file of [little.path, body.path]) {
    const stored = await put(`http://api.example/${file === body.path}`, file);
    t.equal(stored.status, 307);
    t.ok(stored.ms < 15_000, `told to go on after ${stored.ms} ms`);
  }
  await down.clear();
  await oracle.until((arrivals) => arrivals.filter(({ torn }) => !torn).length === 5);
});
