// The road by itself: it carries, it can be cut in each way and mended, and it leaves nothing behind.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { curl } from './app.ts';
import { blackhole } from './faults/blackhole.ts';
import { flap } from './faults/flap.ts';
import { interfaceDown } from './faults/interface-down.ts';
import { kill } from './faults/kill.ts';
import { rate } from './faults/rate.ts';
import { makeRoad, noDelay, noRoad, type Road, sweep } from './namespaces.ts';
import { Oracle } from './oracle.ts';
import { isAlive } from './processes.ts';
import { testdir } from './testdir.ts';

const setOut = async (t: Test): Promise<{ road: Road; oracle: Oracle }> => {
  const road = await makeRoad();
  t.teardown(() => road.remove());
  const oracle = await Oracle.start({ road, file: join(testdir(t), 'oracle.jsonl') });
  t.teardown(() => oracle.stop());
  return { road, oracle };
};

t.test('on a road', { skip: noRoad }, async (t) => {
  const { road, oracle } = await setOut(t);
  const put = (maxTime: number) =>
    curl(`${oracle.url}/a?b=c`, { road, maxTime, body: 'clip', method: 'PUT' });

  await t.test('a call from the vehicle reaches the oracle', async (t) => {
    const answer = await put(5);
    t.match(answer, { exitCode: 0, status: 200 });
    t.match((await oracle.requests()).at(-1), {
      method: 'PUT',
      path: '/a?b=c',
      bytes: 4,
      torn: false,
      answer: 200,
    });
  });

  await t.test('a blackhole is silent: calls hang until it is cleared', async (t) => {
    const cut = blackhole(road);
    await cut.inject();
    const hung = await put(1);
    t.equal(hung.exitCode, 28, 'curl ran out of time');
    t.ok(hung.ms >= 900, `${hung.ms} ms`);
    await cut.clear();
    const answer = await put(5);
    t.match(answer, { exitCode: 0, status: 200 });
    t.ok(answer.ms < 2000, `${answer.ms} ms`);
  });

  await t.test('a blackhole may be one way', async (t) => {
    for (const direction of ['out', 'in'] as const) {
      const cut = blackhole(road, direction);
      await cut.inject();
      t.equal((await put(0.5)).exitCode, 28, direction);
      await cut.clear();
      t.equal((await put(5)).exitCode, 0);
    }
  });

  await t.test('a call that a short blackhole stopped goes on by itself', async (t) => {
    const cut = blackhole(road);
    const big = Buffer.alloc(8 * 1024 * 1024, 1);
    const slow = rate(road, { up: 40 });
    await slow.inject();
    const began = oracle.begins(({ path }) => path === '/big');
    const call = curl(`${oracle.url}/big`, { road, body: big, method: 'PUT', maxTime: 30 });
    await began;
    await cut.inject();
    await sleep(300);
    await cut.clear();
    t.match(await call, { exitCode: 0, status: 200 });
    await slow.clear();
    t.match((await oracle.requests()).at(-1), { path: '/big', bytes: big.length, torn: false });
  });

  await t.test('an interface that is down fails calls at once, and serves them when it is up', async (t) => {
    const cut = interfaceDown(road);
    await cut.inject();
    const failed = await put(10);
    t.equal(failed.exitCode, 7, failed.stderr);
    t.ok(failed.ms < 1000, `${failed.ms} ms`);
    await cut.clear();
    t.match(await put(5), { exitCode: 0, status: 200 });
    const routes = spawnSync('ip', ['-n', road.vehicle.name, 'route'], { encoding: 'utf8' }).stdout;
    t.match(routes, /^default via/m, 'the default route is back');
  });

  await t.test('a carrier that is lost is seen by the vehicle', async (t) => {
    const cut = interfaceDown(road, 'cloud');
    const link = () =>
      spawnSync('ip', ['-n', road.vehicle.name, 'link', 'show', 'road'], { encoding: 'utf8' }).stdout;
    await cut.inject();
    t.match(link(), /NO-CARRIER/);
    await cut.clear();
    t.notMatch(link(), /NO-CARRIER/);
    t.equal((await put(5)).exitCode, 0);
  });

  await t.test('a narrow link takes its time', async (t) => {
    const narrow = rate(road, { up: 8 });
    await narrow.inject();
    const body = Buffer.alloc(1024 * 1024);
    const answer = await curl(`${oracle.url}/narrow`, { road, body, method: 'PUT', maxTime: 20 });
    await narrow.clear();
    t.equal(answer.status, 200);
    t.ok(answer.ms > 800, `1 MiB at 8 Mbit/s in ${answer.ms} ms`);
    const fast = await curl(`${oracle.url}/wide`, { road, body, method: 'PUT', maxTime: 20 });
    t.ok(fast.ms < answer.ms / 2, `${fast.ms} ms without it`);
  });

  await t.test('a flap cuts again and again, and leaves the link whole', async (t) => {
    const flapping = flap(blackhole(road), { seed: 7, up: [5, 20], down: [5, 20] });
    await flapping.inject();
    while (flapping.cuts < 4) await sleep(5);
    await flapping.clear();
    t.match(await put(5), { exitCode: 0, status: 200 });
  });
});

t.test('remove() leaves nothing, also of what still runs', { skip: noRoad }, async (t) => {
  const road = await makeRoad();
  const [command = '', ...args] = road.inVehicle(['sleep', '600']);
  const child = spawn(command, args);
  await once(child, 'spawn');
  const ended = once(child, 'exit');
  while (!readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').startsWith('sleep')) await sleep(2);
  await road.remove();
  t.same(await ended, [null, 'SIGKILL']);
  t.same(
    readdirSync('/var/run/netns').filter((name) => name.startsWith(`layby-${process.pid}-`)),
    [],
  );
  await t.resolves(road.remove(), 'and does no harm twice');
});

t.test('two roads side by side do not meet', { skip: noRoad }, async (t) => {
  const [one, two] = await Promise.all([makeRoad(), makeRoad()]);
  t.not(one.vehicle.name, two.vehicle.name);
  t.not(one.cloud.address, two.cloud.address);
  await Promise.all([one.remove(), two.remove()]);
});

t.test('what a killed run left is swept by the next one', { skip: noRoad }, async (t) => {
  // A process that makes a road and dies of SIGKILL with it.
  const script = `import { makeRoad } from ${JSON.stringify(new URL('namespaces.ts', import.meta.url).href)};
    console.log((await makeRoad()).vehicle.name); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  const name = said.toString().trim();
  await kill('a run', () => child.pid!).inject();
  t.notOk(isAlive(child.pid!));
  sweep(); // Or that of a road beside this one.
  t.notOk(readdirSync('/var/run/netns').includes(name));
});

t.test('a seed repeats a flap', async (t) => {
  const intervals = async (seed: number): Promise<number[]> => {
    const waited: number[] = [];
    let enough = () => {};
    const done = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const cut = { name: 'nothing', inject: async () => {}, clear: async () => {} };
    const wait = async (ms: number, signal: AbortSignal) => {
      if (waited.push(ms) === 20) {
        enough();
        await once(signal, 'abort');
      }
    };
    const flapping = flap(cut, { seed, up: [100, 900], down: [1000, 9000], wait });
    await flapping.inject();
    await done;
    await flapping.clear();
    return waited;
  };
  const first = await intervals(1);
  t.same(await intervals(1), first);
  t.notSame(await intervals(2), first);
  t.ok(first.every((ms, at) => (at % 2 === 0 ? ms >= 1000 && ms <= 9000 : ms >= 100 && ms <= 900)));
});

t.test(
  'a road of some length takes its time, and can be cut and shaped like another',
  { skip: noDelay },
  async (t) => {
    const road = await makeRoad({ delay: 30 });
    t.teardown(() => road.remove());
    const oracle = await Oracle.start({ road, file: join(testdir(t), 'oracle.jsonl') });
    t.teardown(() => oracle.stop());
    const put = (maxTime: number, bytes = 4) =>
      curl(`${oracle.url}/a`, { road, maxTime, body: Buffer.alloc(bytes), method: 'PUT' });
    const answer = await put(5);
    t.match(answer, { exitCode: 0, status: 200 });
    t.ok(answer.ms >= 120, `two round trips: ${answer.ms} ms`);
    for (const cut of [blackhole(road), interfaceDown(road)]) {
      await cut.inject();
      t.not((await put(1)).exitCode, 0, cut.name);
      await cut.clear();
      t.match(await put(10), { exitCode: 0, status: 200 }, `${cut.name} is over`);
    }
    await rate(road, { up: 8 }).inject();
    const shaped = await put(20, 2_000_000);
    t.match(shaped, { exitCode: 0, status: 200 });
    t.ok(shaped.ms > 1_900, `2 MB at 8 Mbit/s: ${shaped.ms} ms`);
  },
);
