import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import t from 'tap';
import { durableFile } from '../../src/wire/durable-file.ts';
import { PendingLanes, readPendingLanes } from '../../src/wire/pending-lanes.ts';
import { testdir } from '../rig/testdir.ts';
import { memoryFile } from './memory-file.ts';

const lanesIn = (file: ReturnType<typeof memoryFile>) => [...(readPendingLanes(file) ?? ['unknown'])];

t.test('a lane is in the file when its mark resolves, and concurrent marks share a write', async (t) => {
  const file = memoryFile();
  const lanes = new PendingLanes(file);
  await lanes.open(['from-before']);
  t.same(lanesIn(file), ['from-before']);
  await Promise.all(['a', 'b', 'c', 'a'].map((name) => lanes.mark(name)));
  t.same(lanesIn(file), ['a', 'b', 'c', 'from-before']);
  t.equal(file.writes, 2);
  await lanes.mark('a');
  t.equal(file.writes, 2, 'what is marked costs nothing');
  await lanes.close();
});

t.test('a mark that comes during a write waits for the next one', async (t) => {
  const file = memoryFile();
  const lanes = new PendingLanes(file);
  await lanes.open([]);
  const slow = Promise.withResolvers<void>();
  file.before = () => slow.promise;
  const first = lanes.mark('a');
  await new Promise(setImmediate);
  const second = lanes.mark('b').then(() => t.same(lanesIn(file), ['a', 'b']));
  slow.resolve();
  await first;
  await second;
  t.equal(file.writes, 3);
});

t.test('an empty lane stays marked for a while, and is unmarked then', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const file = memoryFile();
  const lanes = new PendingLanes(file);
  await lanes.open([]);
  await lanes.mark('flaps');
  lanes.unmark('flaps');
  await lanes.mark('flaps');
  mock.timers.tick(60_000);
  t.same(lanesIn(file), ['flaps'], 'it was marked again');
  t.equal(file.writes, 2, 'at no cost');
  lanes.unmark('flaps');
  mock.timers.tick(60_000);
  await lanes.close();
  t.same(lanesIn(file), []);
});

t.test('a lane that is marked while the file without it is being written is written again', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const file = memoryFile();
  const lanes = new PendingLanes(file);
  await lanes.open(['a']);
  const slow = Promise.withResolvers<void>();
  file.before = () => slow.promise;
  lanes.unmark('a');
  mock.timers.tick(60_000);
  await new Promise((done) => process.nextTick(done));
  await Promise.resolve();
  let marked = false;
  const mark = lanes.mark('a').then(() => {
    marked = true;
  });
  await Promise.resolve();
  t.notOk(marked, 'the file may lose it at this moment');
  slow.resolve();
  await mark;
  t.same(lanesIn(file), ['a']);
});

t.test('where the file cannot be written it is removed, so that nothing counts as empty', async (t) => {
  const file = memoryFile();
  const problems: unknown[] = [];
  const lanes = new PendingLanes(file, (error) => problems.push(error));
  await lanes.open([]);
  file.before = async () => {
    throw new Error('no room');
  };
  await lanes.mark('a');
  t.equal(readPendingLanes(file), undefined);
  t.equal(problems.length, 1);
  file.remove = async () => {
    throw new Error('read-only');
  };
  await t.rejects(lanes.mark('b'), { code: 'LAYBY_STORE_FAILED' });
  file.before = async () => {};
  await lanes.mark('b');
  t.same(lanesIn(file), ['a', 'b'], 'the next mark tries again');
});

t.test('a file that is missing, damaged or of another format tells nothing', async (t) => {
  const path = join(testdir(t), 'shared', 'pending-lanes.json');
  const file = durableFile(path);
  t.equal(readPendingLanes(file), undefined, 'missing');
  await new PendingLanes(file).open(['api']);
  const text = readFileSync(path, 'utf8');
  t.same([...readPendingLanes(file)!], ['api']);
  for (const other of ['', '[]', text.replace('api', 'apj'), text.slice(0, -3), text.replace(':1,', ':2,')]) {
    writeFileSync(path, other);
    t.equal(readPendingLanes(file), undefined, JSON.stringify(other));
  }
  await file.remove();
  t.notOk(existsSync(path));
  mkdirSync(path);
  t.equal(readPendingLanes(file), undefined, 'unreadable');
});
