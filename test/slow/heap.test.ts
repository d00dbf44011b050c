// Law 8 for requests that are over: what the queue keeps of each in the heap of JavaScript. As `layby up` runs it, in a process of
// its own. LAYBY_SNAPSHOTS names a directory for a heap snapshot before and after.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { Pool } from 'undici';
import { LEAN } from '../../src/embedded/lean.ts';
import { saveLastGood } from '../../src/policy/last-good.ts';
import { policyVersion } from '../../src/policy/version.ts';
import { listen } from '../../src/wire/http.ts';
import { destinationOf } from '../queue/scene.ts';
import { testdir } from '../rig/testdir.ts';
import type { HeapReport } from './fixtures/queue-heap.ts';

t.setTimeout(900_000); // 25,000 requests: 60 s on an idle machine

const FIXTURE = new URL('fixtures/queue-heap.ts', import.meta.url).pathname;
const SNAPSHOTS = process.env.LAYBY_SNAPSHOTS;
/** These compile what is used, fill pools, and open the trail of events. */
const WARM_UP = 5_000;
const REQUESTS = 20_000;
/** Compiled code and the list of the trail's blocks, which has its bound, are 10 to 30; an entry in a Map is 100 or more. */
const BYTES_EACH = 60;
const AT_ONCE = 24;

const DESTINATIONS = [
  destinationOf('stored', { mode: 'always', order: 'none' }),
  destinationOf('ordered', { mode: 'always', order: 'key' }),
  destinationOf('through', { mode: 'failover', order: 'key' }),
];

/** What the queue says next. */
const answer = async <Answer>(queue: ChildProcess, question: unknown): Promise<Answer> => {
  const said = once(queue, 'message') as Promise<[Answer]>;
  queue.send(question as object);
  return (await said)[0];
};

const startScene = async (t: Test) => {
  const dir = testdir(t);
  // A socket's path has 107 bytes at most.
  const sockets = await mkdtemp(join(tmpdir(), 'layby-heap-'));
  await saveLastGood(dir, {
    version: policyVersion({ destinations: DESTINATIONS }),
    destinations: DESTINATIONS,
  });
  let arrived = 0;
  let enough = { count: Number.POSITIVE_INFINITY, resolve: () => {} };
  const egress = createServer(async (request, response) => {
    for await (const _ of request);
    // Some find no link, and are tried again.
    if (Math.random() < 0.02) return void response.writeHead(503, { 'layby-no-link': 'UF' }).end();
    response.on('finish', () => {
      arrived += 1;
      if (arrived >= enough.count) enough.resolve();
    });
    response.end();
  });
  await listen(egress, { unix: join(sockets, 'egress') });
  const queue = fork(FIXTURE, [dir, sockets], {
    execArgv: [...LEAN.flags, '--expose-gc'],
    env: { ...process.env, ...LEAN.env },
  });
  await once(queue, 'message');
  const pool = new Pool('http://queue', { socketPath: join(sockets, 'queue'), connections: AT_ONCE });
  t.teardown(async () => {
    const ended = once(queue, 'exit');
    queue.send('stop');
    await ended;
    await pool.destroy();
    egress.closeAllConnections();
    egress.close();
    await rm(sockets, { recursive: true });
  });
  return {
    queue,
    pool,
    until: (count: number) =>
      new Promise<void>((resolve) => {
        enough = { count, resolve };
        if (arrived >= count) resolve();
      }),
  };
};

t.test(`the heap keeps less than ${BYTES_EACH} bytes of a request that is over`, async (t) => {
  const { queue, pool, until } = await startScene(t);
  const body = Buffer.alloc(1_500, 1);
  let asked = 0;
  const one = async (number: number): Promise<void> => {
    const { name } = DESTINATIONS[number % DESTINATIONS.length]!;
    const { body: said, statusCode } = await pool.request({
      method: 'PUT',
      path: `/k${number}`,
      headers: { host: `${name}.example` },
      body: number % 5 === 0 ? Readable.from([body, body]) : body,
    });
    await said.dump();
    if (statusCode >= 400) throw new Error(`${statusCode}`);
  };
  const drive = async (upTo: number): Promise<HeapReport> => {
    const app = async (): Promise<void> => {
      while (asked < upTo) await one(asked++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, app));
    await until(upTo);
    return answer<HeapReport>(queue, 'heap');
  };
  const before = await drive(WARM_UP);
  if (SNAPSHOTS) await answer(queue, { snapshot: join(SNAPSHOTS, 'before.heapsnapshot') });
  const after = await drive(WARM_UP + REQUESTS);
  if (SNAPSHOTS) await answer(queue, { snapshot: join(SNAPSHOTS, 'after.heapsnapshot') });
  for (const field of ['heapUsed', 'external', 'arrayBuffers'] as const) {
    const each = (after[field] - before[field]) / REQUESTS;
    t.ok(each < BYTES_EACH, `${field}: ${each.toFixed(1)} bytes each`);
  }
  t.comment(`RssAnon ${before.rssAnon / 1e6} MB, then ${after.rssAnon / 1e6} MB`);
});
