import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { partsDir } from '../../src/parts/cache.ts';
import { envoyVersion, findEnvoy } from '../../src/parts/envoy.ts';
import { findRclone } from '../../src/parts/rclone.ts';
import { testdir } from '../rig/testdir.ts';
import { offlineEnv, PROGRAM, tinyPart } from './fixtures/wheel.ts';

const platform = 'linux-x64-glibc';

const program = (path: string, text: string): string => {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
};

const setUp = (tap: Test) => {
  const directory = testdir(tap, { wheels: {}, cache: {}, bin: {}, own: {} });
  const wheels = join(directory, 'wheels');
  const env = offlineEnv(wheels, join(directory, 'cache'));
  env.PATH = `${join(directory, 'bin')}:${process.env.PATH}`;
  return { directory, env, part: tinyPart(wheels), platform };
};

t.test('an Envoy that the operator named comes first, then ENVOY, PATH, the cache', async (t) => {
  const { directory, env, ...options } = setUp(t);
  const named = program(join(directory, 'own/named'), PROGRAM);
  const byEnv = program(join(directory, 'own/by-env'), PROGRAM);
  const onPath = program(join(directory, 'bin/envoy'), PROGRAM);
  t.equal(await findEnvoy({ ...options, env: { ...env, ENVOY: byEnv }, path: named }), named);
  t.equal(await findEnvoy({ ...options, env: { ...env, ENVOY: byEnv } }), byEnv);
  t.equal(await findEnvoy({ ...options, env }), onPath);
  program(onPath, '#!/bin/sh\necho "Laravel Envoy 2.9.0"\n');
  const fetched = join(partsDir(env), 'layby-tiny-1.0', options.part.file);
  const said: string[] = [];
  t.equal(await findEnvoy({ ...options, env, onFetch: (what) => said.push(what) }), fetched, 'fetched');
  t.equal(await findEnvoy({ ...options, env, onFetch: (what) => said.push(what) }), fetched, 'cached');
  t.equal(
    await findEnvoy({ ...options, env, platform: 'darwin-arm64' }),
    fetched,
    'cached, whatever the platform',
  );
  t.same(said, ['Tiny 1.0']);
});

t.test('a named Envoy that cannot be run is refused, not passed over', async (t) => {
  const { directory, env, ...options } = setUp(t);
  program(join(directory, 'bin/envoy'), PROGRAM);
  const plain = join(directory, 'own/plain');
  writeFileSync(plain, PROGRAM);
  for (const path of [join(directory, 'own/none'), plain, join(directory, 'own')]) {
    await t.rejects(findEnvoy({ ...options, env, path }), {
      code: 'LAYBY_ENVOY_NOT_FOUND',
      message: /--envoy/,
    });
    const wrong = { ...env, ENVOY: path };
    await t.rejects(findEnvoy({ ...options, env: wrong }), {
      code: 'LAYBY_ENVOY_NOT_FOUND',
      message: /ENVOY names/,
    });
  }
});

t.test('where no Envoy is published the operator is told to bring one', async (t) => {
  const { env, ...options } = setUp(t);
  const other = findEnvoy({ ...options, env, platform: 'linux-x64-musl' });
  await t.rejects(other, { code: 'LAYBY_ENVOY_UNSUPPORTED', remedy: /set ENVOY, or --envoy/ });
});

t.test('the real Envoy prints its version', async (t) => {
  const path = await findEnvoy();
  t.match(await envoyVersion(path), /^1\.\d+\.\d+$/);
});

t.test('RCLONE comes first, then an rclone on PATH that has serve s3, then the cache', async (t) => {
  const { directory, env, ...options } = setUp(t);
  const byEnv = program(join(directory, 'own/rclone'), '#!/bin/sh\n');
  const onPath = join(directory, 'bin/rclone');
  program(onPath, '#!/bin/sh\necho "rclone v1.65.0"\n');
  t.equal(await findRclone({ ...options, env: { ...env, RCLONE: byEnv } }), byEnv);
  t.equal(await findRclone({ ...options, env }), onPath);
  program(onPath, '#!/bin/sh\necho "rclone v1.60.1-DEV"\n');
  const fetched = join(partsDir(env), 'layby-tiny-1.0', options.part.file);
  t.equal(await findRclone({ ...options, env }), fetched, 'Debian 12 has 1.60, which cannot');
  const wrong = { ...env, RCLONE: join(directory, 'own/none') };
  await t.rejects(findRclone({ ...options, env: wrong }), { code: 'LAYBY_RCLONE_NOT_FOUND' });
});
