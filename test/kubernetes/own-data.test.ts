// The init container that hands the directory of the node over, run as root on a real tree. Its script is the chart's own word; only the
// directory is another.

import { lstatSync } from 'node:fs';
import { chmod, chown, lchown, lstat, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { onPath } from '../../src/parts/executable.ts';
import { noHelm } from '../rig/helm.ts';
import { edgePod, template } from '../rig/kubernetes/chart.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(120_000);

const LAYBY = 1337;
const skip = noHelm || (process.getuid?.() !== 0 && 'another owner needs root');

interface Tree {
  at: (...path: string[]) => string;
  /** Runs the script; says which paths were given another owner. */
  own(): Promise<string[]>;
}

async function tree(t: Test, ...values: string[]): Promise<Tree> {
  const dir = testdir(t);
  const [data, programs, log] = [join(dir, 'data'), join(dir, 'bin'), join(dir, 'chown.log')];
  await mkdir(data);
  await mkdir(programs);
  await writeFile(
    join(programs, 'chown'),
    `#!/bin/sh\nfor each; do echo "$each" >> ${log}; done\nexec ${await onPath('chown')} "$@"\n`,
  );
  await chmod(join(programs, 'chown'), 0o755);
  await mkdir(join(dir, 'authority'));
  await writeFile(join(dir, 'authority/authority.json'), 'the roots');
  const pod = edgePod(await template(...values)).spec.template.spec;
  const [script = ''] = pod.initContainers.find(({ name }) => name === 'own-data')!.args!;
  const here = script
    .replaceAll('/var/lib/layby', data)
    .replaceAll('/etc/layby/authority', join(dir, 'authority'));
  const own = async () => {
    await writeFile(log, '');
    await run(['/bin/sh', '-euc', here], {
      env: { ...process.env, PATH: `${programs}:${process.env.PATH}` },
      timeout: 60_000,
    });
    const said = (await readFile(log, 'utf8')).split('\n');
    return said.filter((each) => each && each !== '-h' && each !== `${LAYBY}:${LAYBY}`).sort();
  };
  return { at: (...path) => join(data, ...path), own };
}

const owner = (path: string): [number, number] => {
  const { uid, gid } = lstatSync(path);
  return [uid, gid];
};

t.test('what is new is handed over, and nothing is touched that is right', { skip }, async (t) => {
  const { at, own } = await tree(t);
  t.same(await own(), ['control-plane', 'control-plane/identity', 'queue', 'shared']);
  t.same(owner(at('control-plane/identity')), [LAYBY, LAYBY]);
  t.same(owner(at()), [0, 0], "the node's own directory stays the node's");
  t.same(await own(), []);

  for (let each = 0; each < 50; each++) {
    await mkdir(at(`queue/generation-${each}`));
    await chown(at(`queue/generation-${each}`), LAYBY, LAYBY);
    for (let file = 0; file < 100; file++) {
      await writeFile(at(`queue/generation-${each}/${file}`), '');
      await chown(at(`queue/generation-${each}/${file}`), LAYBY, LAYBY);
    }
  }
  const before = (await lstat(at('queue/generation-7/7'))).ctimeMs;
  const started = performance.now();
  t.same(await own(), [], 'of 5,000 files that are right none is written');
  t.comment(`5,000 files: ${Math.round(performance.now() - started)} ms`);
  t.equal((await lstat(at('queue/generation-7/7'))).ctimeMs, before);
  await chown(at('queue/generation-7/7'), 0, 0);
  await chown(at('queue/generation-9'), LAYBY, 0);
  t.same(await own(), ['queue/generation-7/7', 'queue/generation-9'], 'only what another version left wrong');
  t.same(owner(at('queue/generation-7/7')), [LAYBY, LAYBY]);
});

t.test('what is not Layby’s is left alone: files beside it, what links lead to', { skip }, async (t) => {
  const { at, own } = await tree(t);
  await own();
  await mkdir(at('of-another'));
  await writeFile(at('of-another/file'), '');
  await writeFile(at('notes'), '');
  await symlink(at('notes'), at('queue/to-a-file'));
  await symlink(at('of-another'), at('shared/to-a-directory'));
  t.same(await own(), ['queue/to-a-file', 'shared/to-a-directory'], 'the links themselves');
  for (const each of ['of-another', 'of-another/file', 'notes']) t.same(owner(at(each)), [0, 0], each);
  await lchown(at('queue/to-a-file'), LAYBY, LAYBY);
  t.same(await own(), []);
});

t.test('a file system that is mounted below is left alone', { skip }, async (t) => {
  const { at, own } = await tree(t);
  await own();
  await mkdir(at('queue/mounted'));
  await run(['mount', '-t', 'tmpfs', 'tmpfs', at('queue/mounted')]);
  t.teardown(() => run(['umount', at('queue/mounted')]));
  await writeFile(at('queue/mounted/file'), '');
  t.same(await own(), []);
  t.same(owner(at('queue/mounted')), [0, 0]);
  t.same(owner(at('queue/mounted/file')), [0, 0]);
});

t.test('a disk of its own for the store is handed over', { skip }, async (t) => {
  const { at, own } = await tree(t);
  await mkdir(at('queue'));
  await run(['mount', '-t', 'tmpfs', 'tmpfs', at('queue')]);
  t.teardown(() => run(['umount', at('queue')]));
  await writeFile(at('queue/file'), '');
  t.same(await own(), ['control-plane', 'control-plane/identity', 'queue', 'queue/file', 'shared']);
});

t.test('a link where a directory of Layby is expected is refused, and says so', { skip }, async (t) => {
  for (const each of ['queue', 'control-plane/identity']) {
    const { at, own } = await tree(
      t,
      '--set',
      'edge.authoritySecret=roots,policy.source=files,policy.configMap=policy',
    );
    await mkdir(at('elsewhere'));
    if (each.includes('/')) await mkdir(at('control-plane'));
    await symlink(at('elsewhere'), at(each));
    await t.rejects(own(), new RegExp(`${each} is a link`));
    t.same(owner(at('elsewhere')), [0, 0]);
  }
});

t.test('the authority is put there once, and not through a link that waits for it', { skip }, async (t) => {
  const { at, own } = await tree(
    t,
    '--set',
    'edge.authoritySecret=roots,policy.source=files,policy.configMap=policy',
  );
  await mkdir(at('control-plane/identity'), { recursive: true });
  await writeFile(at('notes'), 'of another');
  await symlink(at('notes'), at('control-plane/identity/.new'));
  await own();
  t.equal(await readFile(at('notes'), 'utf8'), 'of another');
  const authority = at('control-plane/identity/authority.json');
  t.equal(await readFile(authority, 'utf8'), 'the roots');
  t.match(await lstat(authority), { uid: LAYBY, gid: LAYBY, mode: 0o100600 });
  await writeFile(authority, 'newer roots');
  await own();
  t.equal(await readFile(authority, 'utf8'), 'newer roots');
});
