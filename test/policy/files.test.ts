// Policy from files: what is read, and that each way of changing a file is noticed.

import { execFileSync, spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type PolicyUpdate, readPolicyFiles, watchPolicyFiles } from '../../src/policy/sources/files.ts';
import { testdir } from '../rig/testdir.ts';
import { destination } from './documents.ts';

/** A watch whose updates are taken one by one. */
const watching = (t: Test, paths: string[], known?: string) => {
  const arrived: PolicyUpdate[] = [];
  const bell = new EventEmitter();
  const watch = watchPolicyFiles(
    paths,
    (update) => {
      arrived.push(update);
      bell.emit('update');
    },
    known === undefined ? {} : { known },
  );
  t.teardown(() => watch.close());
  const next = async (): Promise<PolicyUpdate> => {
    if (arrived.length === 0) await once(bell, 'update', { signal: AbortSignal.timeout(5000) });
    return arrived.shift()!;
  };
  return {
    watch,
    arrived,
    /** Names of the destinations, or the code of the error. */
    next: async () => {
      const { policy, error } = await next();
      return policy ? policy.destinations.map(({ name }) => name).join() : error.code;
    },
    version: async () => (await next()).policy?.version ?? '',
  };
};

const named = (name: string) => destination({ name, hosts: [`${name}.example`] });

t.test('of a directory, policy files are read in order, hidden files and directories are not', async (t) => {
  const dir = testdir(t, {
    'b.yaml': 'b',
    'a.yml': 'a',
    'c.json': 'c',
    'README.md': '',
    '.a.yaml.swp': '',
    '.hidden.yaml': '',
    '..2026_07_01.yaml': '',
    'dir.yaml': { 'x.yaml': '' },
  });
  const files = await readPolicyFiles([dir, join(dir, 'b.yaml')]);
  t.strictSame(
    files.map(({ text }) => text),
    ['a', 'b', 'c'],
    'a file named twice is read once',
  );
});

t.test('a path that is not there, and a file that is too large, are errors with the path', async (t) => {
  const dir = testdir(t, { 'a.yaml': '' });
  const gone = join(dir, 'gone.yaml');
  await t.rejects(readPolicyFiles([gone]), {
    code: 'LAYBY_POLICY_UNREADABLE',
    message: gone,
    remedy: String,
  });
  truncateSync(join(dir, 'a.yaml'), 5 * 1024 * 1024);
  await t.rejects(readPolicyFiles([dir]), { code: 'LAYBY_POLICY_UNREADABLE', message: /a\.yaml is larger/ });
});

t.test('a file is followed through writes, renames, errors, and its removal and return', async (t) => {
  const dir = testdir(t, { 'p.yaml': named('a') });
  const path = join(dir, 'p.yaml');
  const { next, arrived } = watching(t, [path]);
  t.equal(await next(), 'a', 'first what is there');
  writeFileSync(path, named('b'));
  t.equal(await next(), 'b', 'written in place');
  for (const name of ['c', 'd']) {
    writeFileSync(join(dir, '.p.yaml.tmp'), named(name));
    renameSync(join(dir, '.p.yaml.tmp'), path);
    t.equal(await next(), name, 'renamed over, again and again');
  }
  appendFileSync(path, 'oops: 1\n');
  t.equal(await next(), 'LAYBY_POLICY_INVALID');
  writeFileSync(path, named('d'));
  t.equal(await next(), 'd', 'right again, and told so');
  rmSync(path);
  t.equal(await next(), 'LAYBY_POLICY_UNREADABLE');
  writeFileSync(path, named('e'));
  t.equal(await next(), 'e');
  t.strictSame(arrived, []);
});

t.test(
  'a directory is followed through new, removed and changed files, and through its own removal',
  async (t) => {
    const dir = join(testdir(t, { policy: { 'a.yaml': named('a') } }), 'policy');
    const { next } = watching(t, [dir]);
    t.equal(await next(), 'a');
    writeFileSync(join(dir, 'b.yaml'), named('b'));
    t.equal(await next(), 'a,b');
    rmSync(join(dir, 'a.yaml'));
    t.equal(await next(), 'b');
    rmSync(dir, { recursive: true });
    t.equal(await next(), 'LAYBY_POLICY_UNREADABLE');
    mkdirSync(dir);
    t.match(await next(), /LAYBY_POLICY_INVALID/, 'an empty directory is an empty policy');
    writeFileSync(join(dir, 'c.yaml'), named('c'));
    t.equal(await next(), 'c');
    mkdirSync(`${dir}.new`);
    writeFileSync(join(`${dir}.new`, 'd.yaml'), named('d'));
    renameSync(dir, `${dir}.old`);
    renameSync(`${dir}.new`, dir);
    t.equal(await next(), 'd', 'another directory in its place');
  },
);

t.test(
  'a Kubernetes mount is followed when it swaps its symbolic link, as directory and as file',
  async (t) => {
    const dir = testdir(t, { '..1': { 'p.yaml': named('a') } });
    symlinkSync('..1', join(dir, '..data'));
    symlinkSync('..data/p.yaml', join(dir, 'p.yaml'));
    const whole = watching(t, [dir]);
    const file = watching(t, [join(dir, 'p.yaml')]);
    t.equal(await whole.next(), 'a');
    t.equal(await file.next(), 'a');
    for (const [i, name] of ['b', 'c'].entries()) {
      mkdirSync(join(dir, `..${i + 2}`));
      writeFileSync(join(dir, `..${i + 2}`, 'p.yaml'), named(name));
      symlinkSync(`..${i + 2}`, join(dir, '..data_tmp'));
      renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
      rmSync(join(dir, `..${i + 1}`), { recursive: true });
      t.equal(await whole.next(), name);
      t.equal(await file.next(), name);
    }
  },
);

t.test('a link anywhere on the way, and a file behind a link, are followed', async (t) => {
  const dir = testdir(t, {
    one: { sub: { 'p.yaml': named('a') } },
    two: { sub: { 'p.yaml': named('b') } },
    link: {},
  });
  symlinkSync('one', join(dir, 'current'));
  symlinkSync(join(dir, 'current', 'sub', 'p.yaml'), join(dir, 'link', 'p.yaml'));
  const { next } = watching(t, [join(dir, 'link')]);
  t.equal(await next(), 'a');
  symlinkSync('two', join(dir, 'swap'));
  renameSync(join(dir, 'swap'), join(dir, 'current'));
  t.equal(await next(), 'b');
  writeFileSync(join(dir, 'two', 'sub', 'p.yaml'), named('c'));
  t.equal(await next(), 'c');
});

t.test('the same content is no news: neither at the start for who knows it, nor written again', async (t) => {
  const dir = testdir(t, { 'p.yaml': named('a') });
  const first = watching(t, [dir]);
  const version = await first.version();
  const { watch, next, arrived } = watching(t, [dir], version);
  await watch.ready;
  writeFileSync(join(dir, 'p.yaml'), `# again\n${named('a')}`);
  writeFileSync(join(dir, 'q.yaml'), '# nothing\n');
  writeFileSync(join(dir, 'p.yaml'), named('b'));
  t.equal(await next(), 'b');
  t.strictSame(arrived, []);
});

t.test('a change is told within a quarter of a second', async (t) => {
  const dir = testdir(t, { 'p.yaml': named('a') });
  const { next } = watching(t, [dir]);
  await next();
  const from = performance.now();
  writeFileSync(join(dir, 'p.yaml'), named('b'));
  await next();
  const took = performance.now() - from;
  t.comment(`${took.toFixed(1)} ms`);
  t.ok(took < 250);
});

// As strace shows it of vim with backupcopy=no, of `sed -i`, and of editors that write beside and rename.
const SAVES: Record<string, (path: string, text: string) => void> = {
  'moves the file away, and writes a new one': (path, text) => {
    renameSync(path, `${path}~`);
    const file = openSync(path, 'w');
    for (const line of text.split(/(?<=\n)/)) writeSync(file, line);
    fsyncSync(file);
    closeSync(file);
    rmSync(`${path}~`);
  },
  'writes beside it, and renames': (path, text) => {
    writeFileSync(join(dirname(path), '4913'), '');
    rmSync(join(dirname(path), '4913'));
    writeFileSync(`${path}.swp`, text);
    renameSync(`${path}.swp`, path);
  },
  'truncates it, and writes piece by piece': (path, text) => {
    truncateSync(path);
    for (const line of text.split(/(?<=\n)/)) appendFileSync(path, line);
  },
  'is `sed -i`': (path, text) => {
    execFileSync('sed', [
      '-i',
      '-e',
      `s/.*/${text.replaceAll(/[\\/&]/g, '\\$&').replaceAll('\n', '\\n')}/`,
      '-e',
      '2,$d',
      path,
    ]);
  },
};

/** The real thing, where there is one: it makes and removes a swap file and a probe beside the file as well. */
const vim = (backupcopy: string) => (path: string, text: string) => {
  const beside = `${path}.text`;
  writeFileSync(beside, text);
  const commands = [`set backupcopy=${backupcopy}`, `%!cat ${beside}`, 'wq'];
  execFileSync('vim', ['-N', '-u', 'NONE', '-es', ...commands.flatMap((each) => ['-c', each]), path]);
  rmSync(beside);
};
if (spawnSync('vim', ['--version']).status === 0) {
  SAVES['is vim'] = vim('no');
  SAVES['is vim, and keeps the inode'] = vim('yes');
}

for (const [how, save] of Object.entries(SAVES))
  t.test(`an editor that ${how} is one change: nothing in between is told`, async (t) => {
    const dir = testdir(t, { policy: { 'p.yaml': named('a') } });
    const path = join(dir, 'policy', 'p.yaml');
    const alone = watching(t, [path]);
    const within = watching(t, [join(dir, 'policy')]);
    t.equal(await alone.next(), 'a');
    t.equal(await within.next(), 'a');
    for (const name of ['b', 'c', 'd']) {
      save(path, named(name));
      t.equal(await alone.next(), name);
      t.equal(await within.next(), name);
    }
    t.strictSame([...alone.arrived, ...within.arrived], []);
  });

t.test(
  'several sources make one policy: a file, a directory and a Kubernetes mount, each changed by its own',
  async (t) => {
    const dir = testdir(t, {
      'file.yaml': named('file'),
      dir: { 'x.yaml': named('dir') },
      mount: { '..1': { 'm.yaml': named('mount') } },
    });
    const mount = join(dir, 'mount');
    symlinkSync('..1', join(mount, '..data'));
    symlinkSync('..data/m.yaml', join(mount, 'm.yaml'));
    const { next, arrived } = watching(t, [join(dir, 'file.yaml'), join(dir, 'dir'), mount]);
    t.equal(await next(), 'dir,file,mount');
    writeFileSync(join(dir, 'dir', 'y.yaml'), named('more'));
    t.equal(await next(), 'dir,file,more,mount');
    mkdirSync(join(mount, '..2'));
    writeFileSync(join(mount, '..2', 'm.yaml'), named('swapped'));
    symlinkSync('..2', join(mount, '..data_tmp'));
    renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
    t.equal(await next(), 'dir,file,more,swapped');
    SAVES['moves the file away, and writes a new one']!(join(dir, 'file.yaml'), named('more'));
    t.equal(await next(), 'LAYBY_POLICY_INVALID', 'what two sources claim is refused');
    rmSync(join(dir, 'dir', 'y.yaml'));
    t.equal(await next(), 'dir,more,swapped', 'and taken once one gives it up');
    rmSync(mount, { recursive: true });
    t.equal(await next(), 'LAYBY_POLICY_UNREADABLE', 'a source that is gone takes nothing away');
    t.strictSame(arrived, []);
  },
);
