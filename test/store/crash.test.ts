// Law 1 and law 6 at the store: what commit() resolved for is there after SIGKILL at any moment, whole.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import t from 'tap';
import { all, bodyOf, sha256 } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { testdir } from '../rig/testdir.ts';

const FIXTURE = new URL('fixtures/store-until-killed.ts', import.meta.url).pathname;
/** At least; it goes on until something was moved, which a kill after few lines can prevent in each of them. */
const ROUNDS = 10;
/** By turns: with the smaller ones nearly every entry starts, seals, copies or removes a generation. */
const GENERATION_BYTES = [1024 * 1024, 64 * 1024];

t.setTimeout(120_000); // a slow disk is no failure

t.test(
  'every entry whose commit resolved is there and whole after kill -9, at one destination, and no number is missing',
  async (t) => {
    const dir = testdir(t);
    const stored = new Map<string, string>();
    const leaving = new Set<string>();
    const left = new Set<string>();
    const moving = new Set<string>();
    const moved = new Set<string>();
    for (let round = 0; round < ROUNDS || moved.size === 0; round++) {
      const generationBytes = GENERATION_BYTES[round % 2]!;
      const child = spawn(process.execPath, [FIXTURE, dir, String(generationBytes)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const killAfter = 1 + Math.floor(Math.random() * 40); // lines, so that the moment differs on any machine
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        const [first, second] = line.split(' ') as [string, string];
        if (first === 'leaving') leaving.add(second);
        else if (first === 'left') left.add(second);
        else if (first === 'moving') moving.add(second);
        else if (first === 'moved') moved.add(second);
        else if (first !== 'open') stored.set(first, second);
        if (++lines === killAfter) child.kill('SIGKILL');
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');

      const store = await openStore(dir, { generationBytes });
      t.same(store.report.damage, [], `round ${round}: no damage`);
      const listed = await all(store.list());
      const entries = new Map(listed.map((entry) => [entry.id, entry]));
      t.equal(entries.size, listed.length, `round ${round}: each is at one destination`);
      for (const { id, destination } of listed)
        if (destination === 'elsewhere' ? !moving.has(id) : moved.has(id))
          t.fail(`round ${round}: ${id} is at ${destination}`);
      for (const [id, hash] of stored) {
        const entry = entries.get(id);
        if (!entry && leaving.has(id)) continue;
        if (!entry) t.fail(`round ${round}: ${id} is lost`);
        else if (left.has(id)) t.fail(`round ${round}: ${id} came back`);
        else if (entry.sha256 !== hash || sha256(await bodyOf(store, entry)) !== hash)
          t.fail(`round ${round}: ${id} is torn`);
      }
      for (const entry of entries.values())
        if (sha256(await bodyOf(store, entry)) !== entry.sha256)
          t.fail(`round ${round}: ${entry.id} is torn`);
      for (const [destination, { entries: count }] of store.totals())
        t.equal(count, (await all(store.list({ destination, state: 'stored' }))).length);
      await store.close();
    }
    t.ok(moved.size > 0, `${moved.size} moved`);
    t.ok(stored.size >= ROUNDS, `${stored.size} entries`);
  },
);
