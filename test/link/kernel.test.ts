// What the kernel says of the way out, from a real network namespace whose links really go down.

import { execFileSync, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import t, { type Test } from 'tap';
import { type KernelWatchOptions, probe, type Reachable, watchKernel } from '../../src/link/kernel.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { testdir } from '../rig/testdir.ts';

const silent = pino({ level: 'silent' });

const canMakeNamespaces = (() => {
  if (process.getuid?.() !== 0) return false;
  try {
    const name = `layby-try-${process.pid}`;
    execFileSync('ip', ['netns', 'add', name], { stdio: 'ignore' });
    execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
const skip = canMakeNamespaces ? false : 'needs root and iproute2 to make a network namespace';

let made = 0;
/** A vehicle with one link, `out`: on the wire 10.9.0.0/24 and fd09::/64, a default route for both. */
const vehicle = (t: Test) => {
  const ns = `layby-test-${process.pid}-${made++}`;
  const run = (...args: string[]) =>
    execFileSync('ip', ['-n', ns, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  execFileSync('ip', ['netns', 'add', ns]);
  // Its links go with it.
  t.teardown(() => execFileSync('ip', ['netns', 'del', ns]));
  const addressed = () => {
    run('addr', 'replace', 'fd09::1/64', 'dev', 'out', 'nodad');
    run('route', 'replace', 'default', 'via', '10.9.0.2');
    run('-6', 'route', 'replace', 'default', 'via', 'fd09::2');
  };
  run('link', 'set', 'lo', 'up');
  run('link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'far');
  run('link', 'set', 'out', 'up');
  run('link', 'set', 'far', 'up');
  run('addr', 'add', '10.9.0.1/24', 'dev', 'out');
  addressed();
  return { run, addressed, ip: ['ip', '-n', ns] };
};

const watching = (t: Test, options: Partial<KernelWatchOptions>) => {
  const arrived: Reachable[] = [];
  const bell = new EventEmitter();
  const watch = watchKernel({
    targets: () => [],
    onChange: (reachable) => {
      arrived.push(reachable);
      bell.emit('change');
    },
    log: silent,
    ...options,
  });
  t.teardown(() => watch.close());
  return {
    watch,
    arrived,
    /** Resolves with the first answer that `wanted` accepts; those before it are passed over. */
    until: async (wanted: (reachable: Reachable) => boolean) => {
      for (;;) {
        if (arrived.length === 0) await once(bell, 'change', { signal: AbortSignal.timeout(5000) });
        const reachable = arrived.shift()!;
        if (wanted(reachable)) return reachable;
      }
    },
  };
};

const all = (value: boolean | undefined) => (reachable: Reachable) =>
  [...reachable.values()].every((found) => found === value);

t.test(
  'a link set down and up is told within 50 ms, IPv4 and IPv6, by gateway and on the wire',
  { skip },
  async (t) => {
    const { run, addressed, ip } = vehicle(t);
    const targets = ['198.51.100.7', '10.9.0.2', '[2001:db8::7]', 'fd09::2'];
    const { until } = watching(t, { ip, targets: () => targets });
    t.strictSame([...(await until(all(true))).keys()], targets, 'by the names they were given');
    const took: number[] = [];
    for (let round = 0; round < 5; round++) {
      const from = performance.now();
      run('link', 'set', 'out', 'down');
      await until(all(false));
      took.push(performance.now() - from);
      run('link', 'set', 'out', 'up');
      addressed();
      await until(all(true));
    }
    took.sort((a, b) => a - b);
    t.comment(`ip link set down to onChange: ${took.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    t.ok(took[2]! < 50, 'the median, the `ip link set` itself included');
  },
);

t.test('a lost carrier counts as no way, though the routes stay', { skip }, async (t) => {
  const { run, ip } = vehicle(t);
  const { until } = watching(t, { ip, targets: () => ['198.51.100.7', 'fd09::2'] });
  await until(all(true));
  run('link', 'set', 'far', 'down');
  await until(all(false));
  t.match(run('-j', 'route', 'show', 'default').toString(), '10.9.0.2', 'the route is still there');
  run('link', 'set', 'far', 'up');
  await until(all(true));
});

t.test('a route withdrawn, or one that says no, is told; loopback is always there', { skip }, async (t) => {
  const { run, ip } = vehicle(t);
  const targets = ['198.51.100.7', '127.0.0.1', 'localhost', '[::1]'];
  const { until } = watching(t, { ip, targets: () => targets });
  await until(all(true));
  run('route', 'del', 'default');
  const after = await until((reachable) => reachable.get('198.51.100.7') === false);
  t.strictSame(
    targets.slice(1).map((target) => after.get(target)),
    [true, true, true],
  );
  run('route', 'add', 'default', 'via', '10.9.0.2');
  await until(all(true));
  run('route', 'add', 'blackhole', '198.51.100.0/24');
  await until((reachable) => reachable.get('198.51.100.7') === false);
  run('link', 'set', 'lo', 'down');
  run('route', 'del', '198.51.100.0/24');
  await until(all(true));
});

t.test(
  'a name counts by its addresses once they are known, and by the default route before',
  { skip },
  async (t) => {
    const { run, ip } = vehicle(t);
    const asked: string[] = [];
    const { until } = watching(t, {
      ip,
      targets: () => ['neighbour.example', 'never.example'],
      resolve: async (name) => {
        asked.push(name);
        if (name === 'never.example') throw new Error('no such name');
        return ['10.9.0.2'];
      },
    });
    await until(all(true));
    run('route', 'del', 'default');
    run('-6', 'route', 'del', 'default');
    const after = await until((reachable) => reachable.get('never.example') === false);
    t.equal(after.get('neighbour.example'), true, 'its address is on the wire');
    run('link', 'set', 'out', 'down');
    await until(all(false));
    t.equal(
      asked.filter((name) => name === 'neighbour.example').length,
      1,
      'what is known is not looked up again',
    );
  },
);

t.test(
  'without a default route a name is not called unreachable before its look-up has ended',
  { skip },
  async (t) => {
    const { run, ip } = vehicle(t);
    run('route', 'del', 'default');
    run('-6', 'route', 'del', 'default');
    const answer = Promise.withResolvers<string[]>();
    const { until } = watching(t, { ip, targets: () => ['slow.example'], resolve: () => answer.promise });
    await until(all(undefined));
    answer.resolve(['10.9.0.2']);
    await until(all(true));
  },
);

t.test('probe answers once, and does not wait long for names', { skip }, async (t) => {
  const { run, ip } = vehicle(t);
  const resolve = () => new Promise<string[]>(() => {});
  t.strictSame(
    await probe(['198.51.100.7', 'slow.example', '::1'], { ip, resolve }),
    new Map([
      ['198.51.100.7', true],
      ['slow.example', true],
      ['::1', true],
    ]),
  );
  run('link', 'set', 'out', 'down');
  t.strictSame(await probe(['198.51.100.7'], { ip }), new Map([['198.51.100.7', false]]));
});

t.test('a look is taken when asked for, with the targets of then', { skip }, async (t) => {
  const { ip } = vehicle(t);
  let targets = ['10.9.0.2'];
  const { watch, until } = watching(t, { ip, targets: () => targets });
  await until(all(true));
  targets = ['10.9.0.2', '10.9.0.3'];
  watch.look();
  t.equal((await until(all(true))).size, 2);
});

t.test('without iproute2 nothing is known, and the log says so once', async (t) => {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const options = { ip: ['/nowhere/ip'], targets: () => ['198.51.100.7'], log };
  const { watch, until } = watching(t, options);
  t.strictSame(await until(all(undefined)), new Map([['198.51.100.7', undefined]]));
  watch.look();
  await watch.close();
  t.equal(lines.length, 1);
  t.match(lines[0], /cannot be asked for routes/);
  t.strictSame(await probe(['198.51.100.7'], options), new Map([['198.51.100.7', undefined]]));
});

t.test(
  'a monitor that ends is started again, and an ip that is not iproute2 is no reason to fail',
  async (t) => {
    const dir = testdir(t, { ip: '#!/bin/sh\necho "$*" >> "$(dirname "$0")/calls"\necho usage\n' });
    const ip = join(dir, 'ip');
    chmodSync(ip, 0o755);
    const restarted = new EventEmitter();
    const log = pino(
      {},
      { write: (line: string) => void (line.includes('started again') && restarted.emit('line')) },
    );
    const { watch, until } = watching(t, { ip: [ip], targets: () => ['198.51.100.7'], log });
    await until(all(undefined));
    for (let i = 0; i < 2; i++) await once(restarted, 'line', { signal: AbortSignal.timeout(5000) });
    // Before its directory goes.
    await watch.close();
    const starts = readFileSync(join(dir, 'calls'), 'utf8').match(/^monitor link address route$/gm) ?? [];
    t.ok(starts.length >= 2, `${starts.length} starts`);
  },
);

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
const below = (pid: number): number[] => childrenOf(pid).flatMap((child) => [child, ...below(child)]);
const lives = (pid: number): boolean => {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};
const program = (pid: number): string => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();

t.test('the monitor ends with its process, also where that is killed', { skip }, async (t) => {
  const { run, ip } = vehicle(t);
  // Nothing happens there any more that a monitor would tell, and find that nobody reads it.
  run('link', 'del', 'out');
  const watcher = spawn(
    process.execPath,
    [
      ...['--input-type=module', '-e'],
      `import { watchKernel } from '${new URL('../../src/link/kernel.ts', import.meta.url)}';
       watchKernel({ ip: ${JSON.stringify(ip)}, targets: () => [], onChange: () => {}, log: console });`,
    ],
    { stdio: 'ignore' },
  );
  endsWithTheTest(t, watcher);
  const until = async (isTrue: () => boolean, timeout: number) => {
    for (const deadline = Date.now() + timeout; !isTrue(); await sleep(10))
      if (Date.now() > deadline) return false;
    return true;
  };
  t.ok(await until(() => below(watcher.pid!).some((pid) => program(pid) === 'ip'), 10_000), 'it runs');
  await sleep(200);
  const started = below(watcher.pid!);
  t.ok(started.some((pid) => program(pid) === 'ip'));
  watcher.kill('SIGKILL');
  t.ok(await until(() => !started.some(lives), 1_000), `all of ${started.length} are gone`);
});

t.test('closing ends the monitor', { skip }, async (t) => {
  const { ip } = vehicle(t);
  const { watch, until } = watching(t, { ip, targets: () => ['198.51.100.7'] });
  await until(all(true));
  const started = below(process.pid).filter((pid) => ['sh', 'ip'].includes(program(pid)));
  t.ok(started.length >= 2);
  await watch.close();
  t.notOk(started.some(lives));
});
