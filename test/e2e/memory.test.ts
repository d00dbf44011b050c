// Memory does not grow with bodies (law 8): many large ones are stored side by side.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene } from './scene.ts';

t.setTimeout(290_000);

const MIB = 1024 * 1024;
const BODY = 64 * MIB;
/** What the queue may take on top of what it had, however many bodies. */
const BOUND = 128 * MIB;

/** Anonymous memory of a process, bytes. LevelDB's mapped tables are not in it: the kernel drops them when it likes. */
const rssAnon = (pid: number): number =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

t.test(
  '8 bodies of 64 MiB side by side take less than 128 MiB, and 32 no more',
  { skip: noRoad },
  async (t) => {
    const { road, layby, load } = await makeScene(t);
    const down = interfaceDown(road);
    t.teardown(() => down.clear());
    await down.inject();
    const pid = layby.pidOf('queue');
    const envoy = layby.pidOf('envoy');
    // What the code itself takes is there before the first large body.
    await load({ host: 'api.example', requests: 50, keys: 10, concurrency: 10, prefix: '/warm' });
    const base = rssAnon(pid);
    const envoyBase = rssAnon(envoy);

    for (const bodies of [8, 32]) {
      const done = new AbortController();
      const peak = { queue: 0, envoy: 0 };
      const sampling = (async () => {
        while (!done.signal.aborted) {
          peak.queue = Math.max(peak.queue, rssAnon(pid));
          peak.envoy = Math.max(peak.envoy, rssAnon(envoy));
          await sleep(10); // The kernel does not tell: a sample is all there is.
        }
      })();
      const started = performance.now();
      const records = await load({
        ...{ host: 'api.example', prefix: `/${bodies}`, requests: bodies, keys: bodies, concurrency: bodies },
        bytes: [BODY, BODY],
      });
      const seconds = (performance.now() - started) / 1000;
      done.abort();
      await sampling;
      t.ok(
        records.every(({ status, entryId }) => status === 307 && entryId !== null),
        'each gets a receipt',
      );
      // Side by side, or the figure says nothing.
      const lastStart = Math.max(...records.map(({ start }) => start));
      t.ok(records.every(({ end }) => end > lastStart));
      const grown = peak.queue - base;
      t.comment(
        `${bodies}: queue ${Math.round(grown / MIB)} MiB on top of ${Math.round(base / MIB)}, Envoy ${Math.round((peak.envoy - envoyBase) / MIB)} on top of ${Math.round(envoyBase / MIB)}, ${Math.round((bodies * BODY) / MIB / seconds)} MiB/s`,
      );
      t.ok(grown < BOUND, `${bodies} bodies: ${grown} bytes`);
    }
    t.equal((await layby.queue()).filter(({ bytes }) => bytes === BODY).length, 40);
  },
);
