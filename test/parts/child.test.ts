import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import pino from 'pino';
import t from 'tap';
import { spawnChild } from '../../src/parts/child.ts';
import { testdir } from '../rig/testdir.ts';

const setpriv = spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true']).status === 0;

const quiet = pino({ level: 'silent' });

t.test('a child says its lines to the log at debug, and its exit is an event', async (t) => {
  const out = new PassThrough();
  const seen: string[] = [];
  const script = 'echo one; echo; echo two >&2; printf three; exit 3';
  const log = pino({ level: 'debug' }, out);
  const child = await spawnChild('talker', 'sh', ['-c', script], { log, onLine: (line) => seen.push(line) });
  const { code, signal, lastLines } = await child.exited;
  t.same([code, signal], [3, null]);
  t.same([...lastLines].sort(), ['one', 'three', 'two']);
  t.same(lastLines, seen);
  const logged = String(out.read())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.match(
    logged.find((line) => line.msg === 'two'),
    { level: 20, child: 'talker' },
  );
  t.match(logged.at(-1), { msg: 'child exited', code: 3, pid: child.pid });
});

t.test('the pid file holds the pid of the program itself, and goes with it', async (t) => {
  const pidFile = join(testdir(t, {}), 'child.pid');
  const { promise: said, resolve } = Promise.withResolvers<string>();
  const script = 'echo $$; exec sleep 1000';
  const child = await spawnChild('pid', 'sh', ['-c', script], { log: quiet, pidFile, onLine: resolve });
  t.equal(Number(await said), child.pid);
  t.equal(Number(readFileSync(pidFile, 'utf8')), child.pid);
  const { code, signal } = await child.stop();
  t.same([code, signal], [null, 'SIGTERM']);
  t.notOk(existsSync(pidFile));
  t.match(await child.stop(), { signal: 'SIGTERM' }, 'stopping twice is harmless');
});

t.test('a child that ignores SIGTERM is killed a second later', async (t) => {
  const { promise: ready, resolve } = Promise.withResolvers<string>();
  const script = "trap '' TERM; echo ready; while :; do read line; done < /dev/zero";
  const child = await spawnChild('stubborn', 'sh', ['-c', script], { log: quiet, onLine: resolve });
  await ready;
  const before = performance.now();
  t.match(await child.stop(), { signal: 'SIGKILL' });
  t.ok(performance.now() - before >= 990);
});

t.test('the environment is what was given and nothing else', async (t) => {
  process.env.LAYBY_TEST_SECRET = 'for the parent';
  t.teardown(() => delete process.env.LAYBY_TEST_SECRET);
  const env = { PATH: process.env.PATH, ONLY: 'this' };
  // The test runner adds variables of its own to every child.
  const script = 'echo "$ONLY,$LAYBY_TEST_SECRET"';
  const child = await spawnChild('env', 'sh', ['-c', script], { log: quiet, env });
  const { lastLines } = await child.exited;
  t.same(lastLines, ['this,']);
});

t.test('a grandchild that keeps the pipes open does not hide the exit', async (t) => {
  const script = 'sleep 1000 & echo $!; exit 0';
  const child = await spawnChild('forker', 'sh', ['-c', script], { log: quiet });
  const { code, lastLines } = await child.exited;
  process.kill(Number(lastLines[0]), 'SIGKILL');
  t.equal(code, 0);
});

t.test('a program that is not there is refused before anything starts', async (t) => {
  const missing = join(testdir(t, {}), 'none');
  const wrong = { code: 'LAYBY_CHILD_NOT_STARTED' };
  await t.rejects(spawnChild('none', missing, [], { log: quiet }), wrong);
  await t.rejects(spawnChild('none', 'layby-no-such-program', [], { log: quiet }), wrong);
  const script = testdir(t, { script: 'no interpreter is named here' });
  await t.rejects(spawnChild('plain', join(script, 'script'), [], { log: quiet }), wrong);
});

t.test('endless output without a line end is cut into lines', async (t) => {
  const lengths: number[] = [];
  const onLine = (line: string) => lengths.push(line.length);
  const child = await spawnChild('long', 'sh', ['-c', 'head -c 100000 /dev/zero | tr "\\0" x'], {
    log: quiet,
    onLine,
  });
  await child.exited;
  t.equal(
    lengths.reduce((sum, length) => sum + length, 0),
    100_000,
  );
  t.ok(Math.max(...lengths) <= 16 * 1024);
});

t.test(
  'a child dies when its parent is killed with SIGKILL',
  { skip: !setpriv && 'no setpriv' },
  async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const fixture = join(import.meta.dirname, 'fixtures/parent.ts');
    const parent = spawn(process.execPath, [fixture, String(port)], { stdio: 'inherit' });
    const [held] = (await once(server, 'connection')) as [Socket];
    const gone = once(held.resume(), 'close');
    parent.kill('SIGKILL');
    await gone;
    t.pass('the kernel closed the connection that the child held');
    server.close();
  },
);

t.test(
  'a setpriv that is not found at one start is looked for again at the next',
  { skip: !setpriv && 'no setpriv' },
  async (t) => {
    // A process that has started no child yet.
    const fixture = join(import.meta.dirname, 'fixtures/late-setpriv.ts');
    const { stdout } = spawnSync(process.execPath, [fixture], { encoding: 'utf8' });
    t.equal(stdout.trim(), 'unguarded, guarded');
  },
);
