// A server closes connections on which nothing came for a while, and a request is on its way by then: it meets a reset. That is no lost link.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { startLayby } from '../rig/layby.ts';
import { makeRoad, noDelay } from '../rig/namespaces.ts';
import { testdir } from '../rig/testdir.ts';
import { webServer } from '../rig/web-server-process.ts';
import { policyOf, untilDirect, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

/** One way, ms. */
const DELAY = 60;
/** The server's, ms. */
const KEEP_ALIVE = 1_000;
/** After an answer: the request leaves when the server has closed the connection, and nobody in the vehicle knows; ms. */
const PAUSE = KEEP_ALIVE - DELAY;

t.test('a server that keeps connections for a second', { skip: noDelay }, async (t) => {
  const road = await makeRoad({ delay: DELAY });
  t.teardown(() => road.remove());
  const server = await webServer(t, road, { keepAlive: KEEP_ALIVE });
  const layby = await startLayby({
    road,
    data: join(testdir(t), 'data'),
    policy: policyOf(
      { name: 'api', url: server.url },
      { name: 'never', url: server.url, store: { mode: 'never' } },
      { name: 'stored', url: server.url, store: { mode: 'always' } },
    ),
  });
  t.teardown(async () => {
    if (!t.passing()) t.comment(layby.lines.slice(-40).join('\n'));
    await layby.kill9('all');
  });
  await untilSidecar(layby);
  // Until the queue has reported, nobody knows that nothing waits.
  await untilDirect(layby);
  const start = layby.lines.length;
  const call = (url: string, options = {}) =>
    curl(url, { road, via: layby.outbound, maxTime: 30, ...options });
  const lost = () =>
    layby.lines.slice(start).filter((line) => /no link|lost in the middle|"held"|"draining"/.test(line));
  /** Of the requests heard of late, by path: how often each came. */
  const heard = (prefix: string) => {
    const counts = new Map<string, number>();
    for (const { url } of server.heard)
      if (url.startsWith(prefix)) counts.set(url, (counts.get(url) ?? 0) + 1);
    return counts;
  };

  for (const [name, method, body] of [
    ['api', 'GET', undefined],
    ['api', 'POST', 'one'],
    ['api', 'PUT', 'x'.repeat(300_000)],
    ['never', 'GET', undefined],
    ['never', 'PUT', 'two'],
  ] as const)
    await t.test(`no ${method} of ${name} fails, or is stored, or comes twice`, async (t) => {
      const statuses: number[] = [];
      const length = body?.length ?? 0;
      for (let n = 0; n < 8; n += 1) {
        const { status } = await call(`http://${name}.example/${method}-${length}-${name}/${n}`, {
          method,
          ...(body && { body }),
        });
        statuses.push(status);
        await sleep(PAUSE);
      }
      t.same(statuses, Array(8).fill(200));
      const counts = heard(`/${method}-${length}-${name}/`);
      t.equal(counts.size, 8);
      t.ok([...counts.values()].every((count) => count === 1));
      t.same(await layby.queue(), []);
    });

  await t.test('nor do several at once', async (t) => {
    for (let n = 0; n < 6; n += 1) {
      const answers = await Promise.all(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((path) => call(`http://api.example/at-once-${n}/${path}`)),
      );
      t.same(
        answers.map(({ status }) => status),
        Array(6).fill(200),
      );
      await sleep(PAUSE);
    }
  });

  await t.test('a body of unknown length is sent once more as well', async (t) => {
    for (let n = 0; n < 6; n += 1) {
      const pieces = (async function* () {
        yield Buffer.from('un');
        yield Buffer.from('known');
      })();
      const { status } = await call(`http://api.example/chunked/${n}`, {
        method: 'PUT',
        body: { stream: pieces },
      });
      t.equal(status, 200);
      await sleep(PAUSE);
    }
    t.same([...heard('/chunked/').values()], Array(6).fill(1));
  });

  t.same(lost(), [], 'nothing of that was a lost link');

  await t.test('what is stored is delivered, each at its first try', async (t) => {
    for (let n = 0; n < 6; n += 1) {
      await call(`http://stored.example/stored/${n}`, { method: 'POST', body: 'x' });
      await server.until(server.heard.length + 1);
      await untilDrained(layby);
      await sleep(PAUSE - 100);
    }
    t.same(
      layby.lines.filter((line) => line.includes('not sent: no link')),
      [],
    );
    t.same([...heard('/stored/').values()], Array(6).fill(1));
  });
});
