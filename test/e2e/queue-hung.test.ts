// A queue that hangs: its process is stopped, or its disk answers no more. It keeps its connections, so only a question that it has to answer
// finds it. A queue that is only busy lives.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { poolTo } from '../../src/wire/http.ts';
import { curl, load } from '../rig/app.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { Oracle } from '../rig/oracle.ts';
import { noStrace } from '../rig/strace.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(290_000);

interface Scene {
  oracle: Oracle;
  layby: Layby;
  dir: string;
  put(path: string, body: string): ReturnType<typeof curl>;
  /** Of the queue itself. */
  probe(path: string): Promise<[number, string]>;
}

const scene = async (t: Test): Promise<Scene> => {
  const dir = testdir(t);
  const oracle = await Oracle.start({ file: join(dir, 'cloud.jsonl') });
  t.teardown(() => oracle.stop());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({ name: 'api', url: oracle.url, store: { mode: 'always', receipt: 'accepted' } }),
  });
  t.teardown(() => layby.kill9('all'));
  await untilSidecar(layby);
  const status = (await (await fetch(`http://${layby.admin}/v1/policy`)).json()) as {
    queue: { unix: string };
  };
  const queue = poolTo({ unix: join(status.queue.unix, '../queue-admin.sock') });
  t.teardown(() => queue.destroy());
  return {
    ...{ oracle, layby, dir },
    put: (path, body) =>
      curl(`http://api.example${path}`, { method: 'PUT', body, via: layby.outbound, maxTime: 60 }),
    probe: async (path) => {
      const signal = AbortSignal.timeout(10_000);
      const { statusCode, body } = await queue.request({ method: 'GET', path, signal });
      return [statusCode, await body.text()];
    },
  };
};

/** How long it took, ms. */
const until = async (isTrue: () => Promise<boolean>, timeout: number): Promise<number> => {
  const from = performance.now();
  while (!(await isTrue())) {
    if (performance.now() - from > timeout) throw new Error(`not within ${timeout} ms`);
    await sleep(200);
  }
  return performance.now() - from;
};

const readiness = async ({ layby }: Scene): Promise<[number, string]> => {
  const { status, body } = await layby.get('/readyz');
  return [status, body.toString()];
};

t.test('a queue that is stopped is named by everything that says how it is', async (t) => {
  const use = await scene(t);
  const { layby, oracle, put } = use;
  t.same(await readiness(use), [200, 'ready\n']);
  t.equal((await layby.metrics()).get('layby_queue_answers'), 1);
  await layby.link('down');
  for (let i = 0; i < 20; i++) t.equal((await put(`/before/${i}`, 'a')).status, 202);

  const pid = layby.pidOf('queue');
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    if (layby.pids().some((proc) => proc.pid === pid)) process.kill(pid, 'SIGCONT');
  });
  const during = put('/during', 'a');
  const took = await until(async () => (await readiness(use))[0] === 503, 30_000);
  t.comment(`noticed after ${Math.round(took)} ms`);
  t.ok(took < 15_000);
  t.match(await readiness(use), [503, /^the queue does not answer since \d{4}-.*; calls are held to api\n$/]);
  t.equal((await layby.get('/healthz')).status, 200, 'the control plane itself lives');
  t.equal((await layby.metrics()).get('layby_queue_answers'), 0);
  t.match(await layby.status(), { queue: { answers: false, problem: /does not answer since/ } });
  t.match(await layby.cli('status'), /^the queue does not answer since /m);
  t.match(
    (await layby.get('/v1/queue')).body.toString(),
    /LAYBY_QUEUE_AWAY/,
    'and nobody waits for what it does not say',
  );

  process.kill(pid, 'SIGCONT');
  await until(async () => (await readiness(use))[0] === 200, 15_000);
  t.equal((await layby.metrics()).get('layby_queue_answers'), 1);
  t.equal(layby.pidOf('queue'), pid, 'nobody has started it again');
  t.equal((await during).status, 202);
  await layby.link('auto');
  await untilDrained(layby);
  const arrived = new Set((await oracle.requests()).map(({ path }) => path));
  for (let i = 0; i < 20; i++) t.ok(arrived.has(`/before/${i}`), `/before/${i}`);
  t.ok(arrived.has('/during'));
});

t.test('a queue that 32 connections keep busy lives, and works', async (t) => {
  const use = await scene(t);
  const { layby, dir, probe } = use;
  await layby.link('down');
  const sending = load(
    {
      ...{ target: `http://${layby.outbound}`, host: 'api.example', out: join(dir, 'app.jsonl') },
      ...{ requests: 6_000, concurrency: 32, keys: 500, bytes: [1024, 64 * 1024], seed: 1 },
    },
    {},
  ).finally(() => {
    isOver = true;
  });
  let isOver = false;
  let asked = 0;
  let slowest = 0;
  while (!isOver) {
    const from = performance.now();
    for (const path of ['/healthz', '/readyz']) {
      const [status, text] = await probe(path);
      if (status !== 200) t.fail(`${path}: ${status} ${text}`);
    }
    slowest = Math.max(slowest, performance.now() - from);
    asked += 1;
    await sleep(100);
  }
  const records = await sending;
  t.comment(
    `${records.length} requests, asked ${asked} times, the slowest answer took ${Math.round(slowest)} ms`,
  );
  t.ok(asked > 5);
  t.same(new Set(records.map(({ status }) => status)), new Set([202]));
  t.same((await readiness(use))[0], 200);
});

t.test(
  'a disk that answers no more: not ready after 10 s, not alive after 60 s, and all as before when it answers again',
  { skip: noStrace },
  async (t) => {
    const use = await scene(t);
    const { layby, oracle, put, probe } = use;
    await layby.link('down');
    t.equal((await put('/before', 'a')).status, 202);
    const forMicroseconds = 200_000_000;
    const strace = spawn(
      'strace',
      [
        ...['-f', '-qq', '-o', '/dev/null', '-p', String(layby.pidOf('queue'))],
        ...['-e', 'trace=fsync,fdatasync', '-e', `inject=fsync,fdatasync:delay_enter=${forMicroseconds}`],
      ],
      { stdio: 'ignore' },
    );
    endsWithTheTest(t, strace);
    await sleep(1_000); // It does not say when it has attached.
    const from = performance.now();
    const during = put('/during', 'a');
    const took = await until(async () => (await probe('/readyz'))[0] === 503, 40_000);
    t.comment(`not ready after ${Math.round(took)} ms`);
    t.ok(took > 8_000 && took < 20_000);
    t.match(await probe('/readyz'), [
      503,
      /^the disk does not answer: a (?:commit|write) of .* has been under way for \d+ s\n$/,
    ]);
    t.same(await probe('/healthz'), [200, 'ok\n'], 'nobody ends it for that yet');
    await until(async () => (await readiness(use))[0] === 503, 5_000);
    t.match(await readiness(use), [503, /^the queue does not work: the disk does not answer/]);

    await until(async () => (await probe('/healthz'))[0] === 503, 90_000);
    t.ok(performance.now() - from > 58_000);
    strace.kill('SIGKILL');
    await until(async () => (await probe('/readyz'))[0] === 200, 20_000);
    t.same(await probe('/healthz'), [200, 'ok\n']);
    t.match((await during).status, /^(202|503|504|0)$/);
    await layby.link('auto');
    await untilDrained(layby);
    const arrived = (await oracle.requests()).map(({ path }) => path);
    t.ok(arrived.includes('/before'));
    if ((await during).status === 202) t.ok(arrived.includes('/during'));
  },
);
