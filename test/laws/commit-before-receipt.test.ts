// Law 1, seen in the system calls of the running product: the receipt is written after the fsync of everything it promises.
//
// Seen to fail: with `RECEIPTS[receipt](response, entry)` in src/queue/storing.ts moved before `await writer.commit(…)` (given the
// id from the writer's head), each receipt comes before the sync of its entry and the test names it.

import { join } from 'node:path';
import t from 'tap';
import { makeScene, outcomesAtTheQueue } from '../e2e/scene.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { type Call, callsIn, noStrace, straceOf } from '../rig/strace.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(290_000);

/** Of each string argument. LevelDB writes its log in pieces of up to 64 KiB, and the record may be at the end of one. */
const STRING_BYTES = 128 * 1024;

const fileOf = (call: Call): string | undefined => /^\d+<([^>]+)>/.exec(call.args)?.[1];
const isWrite = ({ name }: Call): boolean => /^(write|writev|pwrite64|sendmsg|sendto)$/.test(name);
const isSync = ({ name, result }: Call): boolean => /^f(data)?sync$/.test(name) && result === 0;

t.test(
  'a receipt is written after the fsync of the entry and all of its body',
  { skip: noRoad || noStrace },
  async (t) => {
    const out = join(testdir(t), 'trace');
    const wrap = straceOf({
      calls: ['write', 'writev', 'pwrite64', 'sendmsg', 'sendto', 'fsync', 'fdatasync', 'msync'],
      ...{ out, strings: STRING_BYTES },
    });
    const { road, layby, call } = await makeScene(t, { wrap, timeout: 60_000 });
    const down = interfaceDown(road);
    t.teardown(() => down.clear());
    await down.inject();
    await layby.untilLine((line) => line.includes('"held"'));

    // Marks at both ends: the first chunk and the last.
    const bodies = ['small', 'small too', 'middle', 'large', 'large too'].map((name, at) => {
      const bytes = [0, 1024, 900_000, 3_000_000, 9_000_000][at]!;
      const [first, last] = [`BEGIN-${at}-MARK`, `END-${at}-MARK`];
      return { path: `/${name.replace(' ', '-')}`, first, last, body: `${first}${'x'.repeat(bytes)}${last}` };
    });
    const ids: string[] = [];
    for (const { path, body } of bodies) {
      const answer = await call(`http://api.example${path}`, { method: 'PUT', body });
      t.equal(answer.status, 307);
      ids.push(answer.headers.get('layby-entry')!);
    }
    t.match(await outcomesAtTheQueue(layby), { receipt: bodies.length });
    await layby.stop();

    const calls = await callsIn(out);
    const writesToDisk = calls.filter((call) => isWrite(call) && fileOf(call)?.includes('/data/'));
    const syncs = calls.filter(isSync);
    t.ok(writesToDisk.length > 0 && syncs.length > 0, 'the store was seen at work');
    for (const [at, id] of ids.entries()) {
      const receipt = calls.find(
        (call) => isWrite(call) && call.args.includes('HTTP/1.1 307') && call.args.includes(id),
      )!;
      t.ok(receipt, 'the receipt was seen');
      // The write that carried it to the disk, and the first sync of the same file that began after it.
      const synced = (what: string, words: string): Call | undefined => {
        const write = writesToDisk.find((call) => call.args.includes(words));
        t.ok(write, `${what} of ${bodies[at]!.path} was seen on its way to the disk`);
        return write && syncs.find((sync) => fileOf(sync) === fileOf(write) && sync.entered > write.returned);
      };
      for (const [what, words] of [
        ['the beginning', bodies[at]!.first],
        ['the record', id],
      ] as const) {
        const sync = synced(what, words);
        t.ok(
          sync && sync.returned < receipt.entered,
          `${what} of ${bodies[at]!.path}: synced in line ${sync?.returned}, receipt in line ${receipt.entered}`,
        );
      }
    }
  },
);
