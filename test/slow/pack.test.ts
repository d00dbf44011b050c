// The package as strangers get it: packed, installed elsewhere by npm, and started with whatever Node the machine has.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { findEnvoy } from '../../src/parts/envoy.ts';
import { destination } from '../policy/documents.ts';
import { freePort } from '../rig/ports.ts';

const REPO = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(join(REPO, 'package.json'), 'utf8')) as { version: string };

/** tap has every Node below it load a hook, through NODE_OPTIONS and however the environment is given; tsc does not bear it,
 *  and a stranger's shell has none. */
const WITHOUT_TAP = ['-u', 'NODE_OPTIONS'];
const execute = promisify(execFile);
const run = (command: string, args: string[], options: { cwd: string; env?: NodeJS.ProcessEnv }) =>
  execute('env', [...WITHOUT_TAP, command, ...args], options);

/** The environment of a shell outside the repository: no script of npm's around, and not the Node that the repository brings. */
const OUTSIDE = Object.fromEntries(
  Object.entries({
    ...process.env,
    PATH: (process.env.PATH ?? '')
      .split(delimiter)
      .filter((directory) => !directory.includes('node_modules'))
      .join(delimiter),
  }).filter(
    ([name]) =>
      !/^npm_(package|lifecycle|command|execpath|node_execpath|config_(local_prefix|prefix|global_prefix))/.test(
        name,
      ) && !['INIT_CWD', 'NODE', 'NODE_ENV'].includes(name),
  ),
);

t.setTimeout(300_000);
// Under the system's temporary directory: npm would find the repository's package.json from any place below it.
const dir = mkdtempSync(join(tmpdir(), 'layby-pack-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const there = { cwd: dir, env: OUTSIDE };

t.test('it is packed, and installed with no word about missing parts', async (t) => {
  await run('npm', ['pack', '--pack-destination', dir], { cwd: REPO });
  const [tarball] = readdirSync(dir);
  t.equal(tarball, `layby-${version}.tgz`);
  await run('npm', ['init', '--yes'], there);
  await run('npm', ['install', '--no-audit', '--no-fund', join(dir, tarball!)], there);
  const inside = readdirSync(join(dir, 'node_modules/layby'));
  for (const name of ['LICENSE', 'README.md', 'CHANGELOG.md', 'dist', 'docs'])
    t.ok(inside.includes(name), name);
  t.notOk(inside.includes('src') || inside.includes('test'));
});

t.test('it runs on the Node of the machine, or on the one that came along', async (t) => {
  t.match(
    (await run('npx', ['--no', '--', 'layby', '--version'], there)).stdout,
    new RegExp(`^${version}\n`),
  );
  const launcher = join(dir, 'node_modules/layby/bin/layby.js');
  const node = (await run('sh', ['-c', 'command -v node'], there)).stdout.trim();
  t.comment((await run(node, ['--version'], there)).stdout.trim());
  t.equal((await run(node, [launcher, '--version'], there)).stdout, `${version}\n`);
  await t.rejects(run(node, [launcher, 'upp'], there), { code: 1, stderr: /^layby: unknown command 'upp'/ });
});

// `--no`: what is not here shall not be looked for in a registry.
for (const start of ['npx --no -- layby', 'node node_modules/layby/bin/layby.js']) {
  t.test(`a mesh is started by ${start}, fetches nothing, and ends with Ctrl-C`, async (t) => {
    const [outbound, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    writeFileSync(join(dir, 'policy.yaml'), destination());
    // The cache is empty: the xDS descriptors came with the package, and the Envoy is named.
    const env = { ...OUTSIDE, LAYBY_CACHE: join(dir, 'cache') };
    const argv = [
      ...['env', ...WITHOUT_TAP],
      ...start.split(' '),
      ...['up', '--policy', 'policy.yaml', '--data', 'data', '--envoy', await findEnvoy()],
      ...['--outbound', outbound, '--admin', admin],
    ];
    // A group of its own, so that it gets a Ctrl-C as a terminal sends it: to all of them at once.
    const child = spawn(argv[0]!, argv.slice(1), {
      cwd: dir,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const signal = (name: NodeJS.Signals) => process.kill(-child.pid!, name);
    t.teardown(() => {
      try {
        signal('SIGKILL');
      } catch {}
    });
    const lines: string[] = [];
    const ready = new Promise<void>((done) => {
      for (const stream of [child.stdout, child.stderr])
        createInterface({ input: stream }).on('line', (line) => {
          lines.push(line);
          if (line === 'layby: ready') done();
        });
    });
    const closed = once(child, 'close') as Promise<[number | null]>;
    await Promise.race([ready, closed]);
    t.ok(lines.includes('layby: ready'), lines.join('\n'));
    t.notOk(lines.some((line) => line.startsWith('layby: fetching')));
    const { stdout } = await run('npx', ['--no', '--', 'layby', 'status', '--json', '--admin', admin], there);
    t.match(JSON.parse(stdout), { link: 'up', sidecars: [{ upToDate: true }] });

    const from = performance.now();
    signal('SIGINT');
    const [code] = await closed;
    // npx ends by the signal itself, once Layby has ended.
    t.ok(code === 0 || (code === null && start.startsWith('npx')), `${code}`);
    t.ok(performance.now() - from < 3_000);
    t.throws(() => signal('SIGKILL'), { code: 'ESRCH' }, 'nothing of it is left');
  });
}
