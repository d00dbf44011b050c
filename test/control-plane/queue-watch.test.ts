// What the control plane makes of what a queue answers, and of no answer.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { QueueWatch } from '../../src/control-plane/queue-watch.ts';
import { logger } from '../../src/telemetry/log.ts';
import { poolTo } from '../../src/wire/http.ts';

t.setTimeout(60_000);

/** A queue that answers with `said`; `silent`: it takes requests and answers none. */
const watching = async (t: Test) => {
  const said: { now: [number, string] | 'silent' } = { now: [200, 'ready\n'] };
  const server = createServer((_, response) => {
    if (said.now === 'silent') return;
    [response.statusCode] = said.now;
    response.end(said.now[1]);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const watch = new QueueWatch(
    poolTo({ host: '127.0.0.1', port }, { connections: 1 }),
    logger('control-plane'),
  );
  const changes: boolean[] = [];
  watch.onChange = () => changes.push(watch.queueAnswers());
  // Its timers are no reason for a process to go on.
  const keep = setInterval(() => {}, 1_000);
  t.teardown(async () => {
    clearInterval(keep);
    await watch.close();
    server.closeAllConnections();
    server.close();
  });
  return { said, server, watch, changes };
};

const until = async (isTrue: () => boolean, timeout = 20_000): Promise<number> => {
  const from = performance.now();
  while (!isTrue()) {
    if (performance.now() - from > timeout) throw new Error(`not within ${timeout} ms`);
    await sleep(50);
  }
  return performance.now() - from;
};

t.test('what the queue says of itself counts at once, and no answer after 10 s', async (t) => {
  const { said, watch, changes } = await watching(t);
  await sleep(2_500);
  t.ok(watch.queueAnswers());
  said.now = [404, '{"code":"LAYBY_NOT_FOUND"}'];
  await sleep(2_500);
  t.ok(watch.queueAnswers(), 'a queue of an earlier version does not know the path, and answers');
  said.now = [503, 'the disk does not answer\n'];
  t.ok((await until(() => !watch.queueAnswers())) < 4_000);
  t.match(watch.problem, { silent: false, text: 'the queue does not work: the disk does not answer' });
  said.now = [200, 'ready\n'];
  await until(() => watch.queueAnswers());
  said.now = 'silent';
  const took = await until(() => !watch.queueAnswers());
  t.ok(took > 8_000 && took < 14_000, `${took} ms`);
  t.match(watch.problem, { silent: true, text: /^the queue does not answer since \d{4}-/ });
  t.same(changes, [false, true, false], 'told once each');
});

t.test('a queue that nobody listens for is away after 10 s too', async (t) => {
  const { server, watch } = await watching(t);
  server.closeAllConnections();
  server.close();
  const took = await until(() => !watch.queueAnswers());
  t.ok(took > 9_000 && took < 14_000, `${took} ms`);
  t.match(watch.problem, { silent: true, text: /ECONNREFUSED/ });
});
