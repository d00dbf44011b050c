// Memory does not grow with bodies (law 8): many large ones are stored side by side.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { noRoad } from '../rig/namespaces.ts';
import { makeScene } from './scene.ts';

t.setTimeout(290_000);

const MIB = 1024 * 1024;
/** What the queue may take on top of what it had, however many bodies. */
const BOUND = 100_000_000;
/** The same of Envoy: each body may wait in a few buffers. */
const ENVOY_BOUND = 200_000_000;
const LOADS = [
  { bodies: 8, bytes: 64 * MIB },
  { bodies: 32, bytes: 64 * MIB },
  { bodies: 256, bytes: 2 * MIB },
];

/** Anonymous memory of a process, bytes. LevelDB's mapped tables are not in it: the kernel drops them when it likes. */
const rssAnon = (pid: number): number =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

t.test(
  '8 or 32 bodies of 64 MiB, or 256 of 2 MiB, side by side take less than 100 MB of the queue and 200 of Envoy',
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

    for (const { bodies, bytes } of LOADS) {
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
        bytes: [bytes, bytes],
      });
      const seconds = (performance.now() - started) / 1000;
      done.abort();
      await sampling;
      const others = records.filter(({ status, entryId }) => status !== 307 || entryId === null);
      t.same(others.slice(0, 3), [], `each gets a receipt: ${others.length} do not`);
      // Side by side, or the figure says nothing.
      const lastStart = Math.max(...records.map(({ start }) => start));
      t.ok(records.every(({ end }) => end > lastStart));
      const grown = peak.queue - base;
      t.comment(
        `${bodies}: queue ${Math.round(grown / MIB)} MiB on top of ${Math.round(base / MIB)}, Envoy ${Math.round((peak.envoy - envoyBase) / MIB)} on top of ${Math.round(envoyBase / MIB)}, ${Math.round((bodies * bytes) / MIB / seconds)} MiB/s`,
      );
      t.ok(grown < BOUND, `${bodies} bodies: ${grown} bytes`);
      t.ok(
        peak.envoy - envoyBase < ENVOY_BOUND,
        `${bodies} bodies in Envoy: ${peak.envoy - envoyBase} bytes`,
      );
    }
    const wanted = LOADS.flatMap(({ bodies, bytes }) => Array<number>(bodies).fill(bytes));
    const stored = (await layby.queue()).map(({ bytes }) => bytes).filter((bytes) => bytes >= MIB);
    t.same(stored, wanted);
  },
);

t.test(
  '256 bodies of 2 MiB that a destination does not read wait in less than 200 MB of Envoy',
  { skip: noRoad },
  async (t) => {
    const { layby, load, oracle } = await makeScene(t);
    const envoy = layby.pidOf('envoy');
    await load({ host: 'api.example', requests: 50, keys: 10, concurrency: 10, prefix: '/warm' });
    const base = rssAnon(envoy);
    await oracle.answer({ path: '/stall', stall: 1000 });
    let count = 0;
    let over = false;
    // On a busy machine those that began first have stalled for so long that they, and all that come then, are stored instead.
    void oracle
      .begins(({ path }) => path.startsWith('/stall') && ++count === 256, 20_000)
      .catch(() => undefined)
      .then(() => {
        over = true;
      });
    const plan = { host: 'api.example', prefix: '/stall', requests: 256, keys: 256, concurrency: 256 };
    const loaded = load({ ...plan, bytes: [2 * MIB, 2 * MIB] });
    let peak = base;
    for (let still = 0; !over || still < 20; still += 1) {
      await sleep(50); // The kernel does not tell: a second without growth is all there is.
      const now = rssAnon(envoy);
      if (now > peak) still = 0;
      peak = Math.max(peak, now);
    }
    t.comment(`${count} began at the destination`);
    t.comment(`Envoy ${Math.round((peak - base) / MIB)} MiB on top of ${Math.round(base / MIB)}`);
    t.ok(peak - base < ENVOY_BOUND, `${peak - base} bytes`);
    await oracle.reset();
    await loaded;
  },
);
