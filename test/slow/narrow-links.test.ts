// Links as narrow as IoT plans throttle them to. A body takes minutes, most of which it lies in buffers of Envoy and the kernel: as long as bytes
// move nothing is cut, so it arrives once, and goes over the link once.

import { join } from 'node:path';
import t from 'tap';
import { makeScene, randomFile, untilDrained } from '../e2e/scene.ts';
import { rate } from '../rig/faults/rate.ts';
import { DEVICE, noRoad, type Road } from '../rig/namespaces.ts';
import { run } from '../rig/run.ts';

const KIB = 1024;

/** Bytes that the vehicle has sent, frames and all. */
const sentBy = async (road: Road): Promise<number> => {
  const said = await run(['ip', '-n', road.vehicle.name, '-s', '-j', 'link', 'show', 'dev', DEVICE]);
  return (JSON.parse(said) as { stats64: { tx: { bytes: number } } }[])[0]!.stats64.tx.bytes;
};

t.setTimeout(1_200_000);
t.jobs = 2;
const LINKS: { kbit: number; kib: number; answerTimeout?: string }[] = [
  { kbit: 16, kib: 640 },
  // From the end of the request: while it leaves, the time does not run.
  { kbit: 32, kib: 640, answerTimeout: '5s' },
];

for (const { kbit, kib, answerTimeout } of LINKS)
  t.test(
    `${kib} KiB over ${kbit} kbit/s`,
    { skip: noRoad, timeout: 1_200_000, buffered: true },
    async (t) => {
      const { oracle, layby, call, road, dir } = await makeScene(t, {
        destinations: ({ url }) => [{ name: 'api', url, ...(answerTimeout && { answerTimeout }) }],
      });
      const body = await randomFile(dir, 'body', kib * KIB);
      await layby.link('down');
      const put = { method: 'PUT', body: { file: join(dir, 'body') } };
      t.equal((await call('http://api.example/log', put)).status, 307);
      const narrow = rate(road, { up: kbit / 1000 });
      await narrow.inject();
      t.teardown(() => narrow.clear());
      const before = await sentBy(road);
      await layby.link('up');
      await untilDrained(layby, 600_000);
      const sent = (await sentBy(road)) - before;
      const arrivals = await oracle.requests();
      t.equal(arrivals.length, 1, 'it was sent once');
      t.equal(arrivals[0]?.sha256, body.sha256);
      t.ok(sent <= 1.1 * kib * KIB, `${(sent / (kib * KIB)).toFixed(3)} × the body went over the link`);
    },
  );
