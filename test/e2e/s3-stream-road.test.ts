// On a real link, lost without a word: a stream to S3 is stored meanwhile, and goes on in the upload that it began while its app still sends.

import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { blackhole } from '../rig/faults/blackhole.ts';
import { rate } from '../rig/faults/rate.ts';
import { noGo } from '../rig/go.ts';
import { DEVICE, noRoad, type Road } from '../rig/namespaces.ts';
import { run } from '../rig/run.ts';
import { type S3Server, startS3 } from '../rig/s3.ts';
import { makeScene, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;
const BUCKET = 'clips';
/** MiB */
const BODY = 40;

/** Bytes that have left the vehicle. */
const sent = async (road: Road): Promise<number> => {
  const line = (await run(road.inVehicle(['cat', '/proc/net/dev']))).match(new RegExp(`${DEVICE}:(.*)`))![1]!;
  return Number(line.trim().split(/\s+/)[8]);
};

t.test(
  'a stream over a link that is lost and comes back is one upload',
  { skip: noRoad || noGo },
  async (t) => {
    let s3: S3Server | undefined;
    const scene = await makeScene(t, {
      env: {
        AWS_ACCESS_KEY_ID: 'LAYBYRIGKEYID0000000',
        AWS_SECRET_ACCESS_KEY: 'layby/rig+secret/0123456789abcdefghijklm',
      },
      destinations: async (_, road) => {
        s3 = await startS3({ server: 'versitygw', road, dir: join(t.testdirName, 's3'), buckets: [BUCKET] });
        t.teardown(() => s3!.stop());
        return [{ name: 'cam', url: `${s3.url}/${BUCKET}`, sign: true }];
      },
    });
    const { road, layby, call } = scene;
    await untilSidecar(layby);
    const slow = rate(road, { up: 40 });
    await slow.inject();
    t.teardown(() => slow.clear());
    const cut = blackhole(road);
    const body = randomFillSync(Buffer.alloc(BODY * MIB));

    const begun = await sent(road);
    const pieces = new PassThrough({ highWaterMark: 64 * MIB });
    const answer = call('http://cam.example/live.mp4', { body: { stream: pieces }, maxTime: 100 });
    // 12 Mbit/s or so. The link is lost when 8 MiB have come, and is back when 20 have.
    for (let quarter = 0; quarter < BODY * 4; quarter++) {
      if (quarter === 32) await cut.inject();
      if (quarter === 80) await cut.clear();
      pieces.write(body.subarray((quarter * MIB) / 4, ((quarter + 1) * MIB) / 4));
      await sleep(150);
    }
    const before = (await sent(road)) - begun;
    pieces.end();
    const { status, headers } = await answer;
    t.equal(status, 307);
    t.ok(headers.get('layby-entry'));
    await untilDrained(layby, 60_000);
    t.match(await s3!.objects(), [{ key: 'live.mp4', bytes: body.length, sha256: sha256(body) }]);
    const all = (await sent(road)) - begun;
    t.comment(`${before / MIB} MiB were sent before the end of ${BODY}, ${all / MIB} in all`);
    t.ok(before > 24 * MIB, 'what came without the link did not wait for the end');
    t.ok(all < 1.4 * body.length, 'a part for each that was under way');
  },
);
