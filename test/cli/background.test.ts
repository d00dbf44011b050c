// Programs that go on running, started as people start them: in the background of a shell that ends, under npm, on a terminal that closes.
// `layby cluster` stands for all of them, since it starts soonest.

import { type SpawnOptions, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Agent, request } from 'undici';
import { writeCertificate } from '../rig/certificate.ts';
import { startLayby } from '../rig/layby.ts';
import { endsWithTheRig } from '../rig/lifetime.ts';
import { freePort } from '../rig/ports.ts';
import { familyOf, gone, MARK, type Proc, sigkill } from '../rig/processes.ts';
import { testdir } from '../rig/testdir.ts';
import { PROGRAM } from './layby-process.ts';

t.setTimeout(120_000);

/** Some looks of a program at what started it, ms. */
const SOME_LOOKS_MS = 1_000;

/** As a shell of a person has it: nothing of the npm that may run this test. */
const ENV = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_|^LAYBY_LAUNCHED$/.test(name)),
);

interface Background {
  /** Ends, or is ended by the test. */
  shell: Promise<unknown>;
  kill: (name: string | RegExp, signal?: NodeJS.Signals) => Promise<void>;
  webhook: () => Proc | undefined;
  isHealthy: () => Promise<boolean>;
  log: () => { msg: string; reason?: string }[];
  untilReady: () => Promise<void>;
}

/** Runs what `start` makes of the command line that starts the webhook. */
const background = async (
  t: Test,
  start: (
    command: string,
    dir: string,
  ) => readonly [string, ...string[]] | Promise<readonly [string, ...string[]]>,
  options: SpawnOptions = {},
): Promise<Background> => {
  const dir = testdir(t);
  await mkdir(dir, { recursive: true });
  await writeCertificate(dir);
  const port = await freePort();
  const logFile = join(dir, 'webhook.log');
  writeFileSync(logFile, '');
  const words = [
    ...[process.execPath, PROGRAM, 'cluster', '--no-policy', '--listen', `127.0.0.1:${port}`],
    ...['--tls-certificate', join(dir, 'tls.crt'), '--tls-key', join(dir, 'tls.key')],
  ];
  const mark = randomUUID();
  const family = familyOf(mark);
  const [program, ...args] = await start(words.map((word) => `'${word}'`).join(' '), dir);
  const shell = spawn(program, args, {
    ...{ stdio: 'ignore', cwd: dir, ...options },
    env: { ...ENV, ...options.env, [MARK]: mark },
  });
  const endAll = () => {
    for (const { pid } of family()) sigkill(pid);
  };
  const forget = endsWithTheRig(endAll);
  t.teardown(() => {
    endAll();
    forget();
  });
  const agent = new Agent({ connect: { rejectUnauthorized: false } });
  t.teardown(() => agent.destroy());
  const log = () =>
    readFileSync(logFile, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { msg: string; reason?: string });
  return {
    shell: once(shell, 'close'),
    kill: async (name, signal = 'SIGKILL') => {
      const pids = family()
        .filter(({ argv }) => argv.join(' ').match(name))
        .map(({ pid }) => pid);
      // The launcher last, or what it has started could see it gone first.
      for (const pid of pids.toReversed()) process.kill(pid, signal);
      if (signal === 'SIGKILL') await gone(pids);
    },
    webhook: () => family().find(({ name, argv }) => name === 'cluster' && !argv.includes('-e')),
    isHealthy: async () => {
      const answer = await request(`https://127.0.0.1:${port}/healthz`, { dispatcher: agent });
      return (await answer.body.text()) === 'ok\n';
    },
    log,
    untilReady: async () => {
      for (const deadline = Date.now() + 30_000; !log().some(({ msg }) => msg === 'ready'); await sleep(50))
        if (Date.now() > deadline) throw new Error(`not ready: ${readFileSync(logFile, 'utf8')}`);
    },
  };
};

const LOG = '>> webhook.log 2>&1 < /dev/null';
const inShell = (script: string) => ['/bin/bash', '-c', script] as const;
/** Stays until the program is ready, and then ends. */
const WHEN_READY = 'until grep -q ready webhook.log; do sleep 0.05; done';

const BACKGROUND: Record<string, (command: string) => string> = {
  '&': (command) => `${command} ${LOG} & ${WHEN_READY}`,
  nohup: (command) => `nohup ${command} ${LOG} & ${WHEN_READY}`,
  setsid: (command) => `setsid ${command} ${LOG} & ${WHEN_READY}`,
  'nohup setsid': (command) => `nohup setsid ${command} ${LOG} & ${WHEN_READY}`,
  disown: (command) => `set -m; ${command} ${LOG} & disown; ${WHEN_READY}`,
};
/** What bin/layby.js does on a Node that is too old. */
const LAUNCHER =
  "require('child_process').spawn(process.argv[1], process.argv.slice(2), {stdio:'inherit',env:{...process.env,LAYBY_LAUNCHED:'1'}})";
const launched = (command: string): string => `'${process.execPath}' -e "${LAUNCHER}" ${command}`;

for (const [how, script] of Object.entries(BACKGROUND))
  for (const [by, wrapped] of [
    ['', (command: string) => command],
    [', by the launcher', launched],
  ] as const)
    t.test(`${how}${by}: it lives on when the shell has ended that started it`, async (t) => {
      const at = await background(t, (command) => inShell(script(wrapped(command))));
      await at.shell;
      await sleep(SOME_LOOKS_MS); // That it does not end cannot be awaited.
      t.ok(await at.isHealthy());
      t.notOk(at.log().some(({ msg }) => msg === 'ending'));
      await at.kill(/ cluster /, 'SIGTERM');
      await gone([at.webhook()?.pid ?? 0]);
      t.match(
        at.log().filter(({ msg }) => msg.startsWith('end')),
        [{ msg: 'ending', reason: 'SIGTERM' }, { msg: 'ended' }],
        'and says why it ends when it is told to',
      );
    });

t.test('without a terminal it outlives a SIGHUP', async (t) => {
  const at = await background(t, (command) => inShell(BACKGROUND.nohup!(command)));
  await at.shell;
  await at.kill(/ cluster /, 'SIGHUP');
  while (!at.log().some(({ msg }) => /SIGHUP/.test(msg))) await sleep(50);
  t.ok(await at.isHealthy());
});

const noScript = !existsSync('/usr/bin/script') && 'there is no script(1)';

t.test('on a terminal it ends when the terminal closes, and says so', { skip: noScript }, async (t) => {
  const at = await background(t, (command) => ['script', '-qec', `${command} 2>> webhook.log`, '/dev/null'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await at.untilReady();
  const { pid } = at.webhook()!;
  await at.kill(/^script /);
  await gone([pid]);
  t.match(
    at.log().filter(({ msg }) => msg.startsWith('end')),
    [{ msg: 'ending', reason: /SIGHUP/ }, { msg: 'ended' }],
  );
});

t.test('the launcher takes it with it, and it says so', async (t) => {
  const at = await background(t, (command) => inShell(`${launched(command)} ${LOG} & ${WHEN_READY}`));
  await at.shell;
  const { pid } = at.webhook()!;
  await at.kill(/LAYBY_LAUNCHED/);
  await gone([pid]);
  t.match(
    at.log().find(({ msg }) => msg === 'ending'),
    { reason: /what started it has gone/ },
  );
});

const noNpm =
  !(process.env.PATH ?? '').split(':').some((dir) => existsSync(join(dir, 'npm'))) && 'there is no npm';

const npmStart = async (command: string, dir: string): Promise<string> => {
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ scripts: { start: `${command} ${LOG}` } }));
  return 'npm start --offline --no-update-notifier';
};

t.test('npm takes it with it, however npm ends', { skip: noNpm }, async (t) => {
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const at = await background(t, async (command, dir) => inShell(`exec ${await npmStart(command, dir)}`));
    await at.untilReady();
    const { pid } = at.webhook()!;
    await at.kill(/^npm start/, signal);
    await gone([pid]);
    t.match(
      at.log().find(({ msg }) => msg === 'ending'),
      { reason: /what started it has gone|SIGTERM/ },
      signal,
    );
  }
});

t.test('under npm it lives on when the shell has ended that started npm', { skip: noNpm }, async (t) => {
  const at = await background(t, async (command, dir) =>
    inShell(`setsid ${await npmStart(command, dir)} & ${WHEN_READY}`),
  );
  await at.shell;
  await sleep(SOME_LOOKS_MS); // That it does not end cannot be awaited.
  t.ok(await at.isHealthy());
});

t.test('a shell that npm has left its environment to may end', async (t) => {
  const at = await background(t, (command) => inShell(BACKGROUND['nohup setsid']!(command)), {
    env: { npm_command: 'exec', npm_lifecycle_event: 'npx' },
  });
  await at.shell;
  await sleep(SOME_LOOKS_MS); // That it does not end cannot be awaited.
  t.ok(await at.isHealthy());
});

t.test('a mesh in the background lives on, and answers', async (t) => {
  const dir = testdir(t);
  await mkdir(dir, { recursive: true });
  const enough = join(dir, 'enough');
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: `apiVersion: layby.dev/v1alpha1
kind: Destination
metadata: { name: api }
spec: { hosts: [api.example], upstream: { url: "http://127.0.0.1:9" } }
`,
    env: { npm_command: 'exec', LAYBY_LAUNCHED: '' },
    wrap: ['/bin/bash', '-c', `nohup setsid "$@" & until [ -e '${enough}' ]; do sleep 0.05; done`, 'bash'],
  });
  t.teardown(() => layby.kill9('all'));
  writeFileSync(enough, '');
  await layby.ended;
  await sleep(SOME_LOOKS_MS); // That it does not end cannot be awaited.
  t.match(await layby.status(), { destinations: [{ name: 'api' }] });
  await layby.end(['layby up'], 'SIGTERM');
  t.same(layby.pids(), [], 'nothing of it is left');
  const ends = layby.log().filter(({ msg }) => msg === 'ending');
  t.same(ends.map(({ part, reason }) => `${part} ${reason}`).sort(), [
    ...['control-plane SIGTERM', 'queue SIGTERM', 'up SIGTERM'],
  ]);
});
