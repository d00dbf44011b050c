import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Simulation, type SimulationOptions } from './scheduler.ts';

const simulated = async (
  options: SimulationOptions,
  task: (simulation: Simulation) => Promise<void>,
): Promise<Simulation> => {
  const simulation = new Simulation(options);
  simulation.install();
  try {
    await task(simulation);
  } finally {
    simulation.uninstall();
  }
  return simulation;
};

/** Workers that sleep, read a disk, and draw numbers. */
const busy = async (simulation: Simulation): Promise<void> => {
  let left = 20;
  const work = async (name: string): Promise<void> => {
    for (let i = 0; i < 50; i++) {
      if (simulation.fault(0.5)) await simulation.delay(`disk of ${name}`, 0, 10);
      if (Math.random() < 0.3) await sleep(5);
      await simulation.delay(`tie of ${name}`, 1, 1);
      if (simulation.fault(0.1)) await new Promise((done) => setImmediate(done));
      simulation.note(`${name} ${Date.now()} ${randomUUID()} ${randomBytes(4).toString('hex')}`);
    }
    left--;
  };
  for (let i = left; i > 0; i--) void work(`worker ${i}`);
  await simulation.run(() => left === 0);
};

t.test('a seed gives one and the same trace each time, and another seed another', async (t) => {
  const [first, again, other] = [
    await simulated({ seed: 7 }, busy),
    await simulated({ seed: 7 }, busy),
    await simulated({ seed: 8 }, busy),
  ];
  t.ok(first.events > 1000);
  t.equal(again.trace.digest, first.trace.digest);
  t.same(again.trace.lines, first.trace.lines);
  t.not(other.trace.digest, first.trace.digest);
});

const clocks = (): unknown[] => [
  setTimeout,
  setImmediate,
  sleep,
  Date,
  Math.random,
  performance.now,
  randomUUID,
];

t.test('timers fire in the order of their times, and clocks move with them', async (t) => {
  const real = clocks();
  await simulated({ seed: 1 }, async (simulation) => {
    const fired: string[] = [];
    const began = performance.now();
    setTimeout(() => fired.push(`b ${performance.now() - began} ${new Date().toISOString()}`), 20);
    setTimeout((name: string) => fired.push(name), 10, 'a');
    setTimeout(() => fired.push('never'), 15).close();
    clearTimeout(setTimeout(() => fired.push('never'), 15));
    const late = setTimeout(() => fired.push('refreshed'), 25);
    setTimeout(() => late.refresh(), 24);
    const every = setInterval(() => fired.push('tick'), 18);
    setTimeout(() => clearInterval(every), 40);
    t.ok(every.hasRef());
    t.notOk(every.unref().hasRef());
    t.ok(Number(every) > 0);
    await simulation.run(simulation.now + 100);
    t.same(fired, ['a', 'tick', 'b 20 2026-01-01T00:00:01.020Z', 'tick', 'refreshed']);
    t.equal(performance.now() - began, 100);
  });
  t.same(clocks(), real, 'the real ones are back');
});

t.test('timers of one length fire in the order in which they were set', async (t) => {
  await simulated({ seed: 3 }, async (simulation) => {
    const fired: number[] = [];
    for (let i = 0; i < 20; i++) setTimeout(() => fired.push(i), 5);
    await simulation.run(() => fired.length === 20);
    t.same(
      fired,
      Array.from({ length: 20 }, (_, i) => i),
    );
  });
});

t.test('operations that end at one time end in an order that the seed decides', async (t) => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 20; seed++)
    await simulated({ seed }, async (simulation) => {
      let order = '';
      for (const name of 'abc') void simulation.delay(name, 5, 5).then(() => (order += name));
      await simulation.run(() => order.length === 3);
      orders.add(order);
    });
  t.ok(orders.size > 3, [...orders].join(' '));
});

t.test('sleep gives its value, and ends with an AbortError when its signal does', async (t) => {
  await simulated({ seed: 1 }, async (simulation) => {
    const results: unknown[] = [];
    const controller = new AbortController();
    const reason = new Error('stop');
    const note = async (name: string, promise: Promise<unknown>): Promise<void> => {
      const value = await promise.catch(({ name, code, cause }: NodeJS.ErrnoException) => [
        name,
        code,
        cause,
      ]);
      results.push([name, performance.now() - began, value]);
    };
    const began = performance.now();
    void note('value', sleep(10, 'value'));
    void note('aborted', sleep(50, undefined, { signal: controller.signal }));
    void note('aborted before', sleep(50, undefined, { signal: AbortSignal.abort(reason) }));
    setTimeout(() => controller.abort(reason), 20);
    const late = AbortSignal.timeout(30);
    late.addEventListener('abort', () => results.push((late.reason as Error).name));
    await simulation.run(() => results.length === 4);
    t.same(results, [
      ['aborted before', 0, ['AbortError', 'ABORT_ERR', reason]],
      ['value', 10, 'value'],
      ['aborted', 20, ['AbortError', 'ABORT_ERR', reason]],
      'TimeoutError',
    ]);
    t.equal(performance.now() - began, 30);
  });
});

t.test('all callbacks of an event run before the next event', async (t) => {
  await simulated({ seed: 1 }, async (simulation) => {
    const steps: string[] = [];
    simulation.schedule('one', 1, () => {
      void (async () => {
        for (let i = 0; i < 3; i++) {
          await new Promise<void>((done) => process.nextTick(done));
          await Promise.resolve();
          steps.push(`one ${i}`);
        }
      })();
    });
    simulation.schedule('two', 1.001, () => steps.push('two'));
    await simulation.run(() => steps.includes('two'));
    t.same(steps, ['one 0', 'one 1', 'one 2', 'two']);
  });
});

t.test('a failure names the seed, and shows the last events', async (t) => {
  const failing: [RegExp, (simulation: Simulation) => void][] = [
    [/kaputt/, () => void sleep(5).then(() => Promise.reject(new Error('kaputt')))],
    [/kaputt/, (simulation) => simulation.schedule('x', 1, () => queueMicrotask(kaputt))],
    [/kaputt/, () => setTimeout(kaputt, 5)],
    [/kaputt/, () => setTimeout(() => process.nextTick(kaputt), 5)],
    [/kaputt/, (simulation) => setTimeout(() => simulation.fail(new Error('kaputt')), 5)],
    [/Nothing is scheduled any more/, () => setTimeout(() => {}, 5)],
    [/not reached within the time: scheduled are .* timer 7/, () => setInterval(() => {}, 7)],
    [/More than 200000 events within 100 ms: \d+ × immediate/, () => spin()],
    [/More than 200000 events within 100 ms: \d+ × list/, (simulation) => listForEver(simulation)],
    [/One event goes on and on/, () => setTimeout(() => forEver(), 1)],
  ];
  for (const [message, start] of failing)
    await simulated({ seed: 42 }, async (simulation) => {
      start(simulation);
      await t.rejects(
        simulation.run(() => false, { within: 1000 }),
        { name: 'SimulationFailure', message },
        String(message),
      );
      await t.rejects(
        simulation.run(() => true),
        /^Seed 42 failed at [\d.]+ ms, event \d+: /,
      );
    });
});

const kaputt = (): void => {
  throw new Error('kaputt');
};
const spin = (): void => {
  setImmediate(spin);
};
const listForEver = (simulation: Simulation): void => {
  void simulation.delay('list', 0, 0).then(() => listForEver(simulation));
};
const forEver = (): void => {
  for (;;) performance.now();
};

t.test('real work ends at its virtual time, however long it takes', async (t) => {
  const { setTimeout: real } = globalThis;
  const run = (ms: number): Promise<Simulation> =>
    simulated({ seed: 5 }, async (simulation) => {
      let done = false;
      const task = (): Promise<string> => new Promise((resolve) => real(() => resolve('read'), ms));
      void simulation.real('file', 3, 9, task).then((value) => {
        simulation.note(value);
        done = true;
      });
      const every = setInterval(() => {}, 1);
      await simulation.run(() => done);
      clearInterval(every);
    });
  t.same((await run(20)).trace.lines, (await run(0)).trace.lines);
});

t.test('what the real world calls in between is a failure', async (t) => {
  const { setInterval: repeat } = globalThis;
  await simulated({ seed: 5 }, async (simulation) => {
    const outside = repeat(() => setTimeout(() => {}, 5), 1);
    const every = setInterval(() => {}, 1);
    await t.rejects(
      simulation.run(() => false, { within: 1e7 }),
      /scheduled by something outside/,
    );
    clearInterval(outside);
    clearInterval(every);
  });
});

t.test('a hundred thousand events take less than two seconds of a processor', async (t) => {
  const began = process.cpuUsage();
  const simulation = await simulated({ seed: 1 }, async (simulation) => {
    let left = 100;
    const work = async (): Promise<void> => {
      for (let i = 0; i < 1000; i++) {
        clearTimeout(setTimeout(() => {}, 60_000));
        await simulation.delay('disk', 1, 10);
      }
      left--;
    };
    for (let i = left; i > 0; i--) void work();
    await simulation.run(() => left === 0);
  });
  const took = process.cpuUsage(began).user / 1000;
  t.comment(`${Math.round(simulation.events / (took / 1000))} events a second`);
  t.ok(took < 2000, `${took} ms`);
});
