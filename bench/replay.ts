// `npm run bench:replay`: what replay makes of a narrow link, beside curl and rclone on the same one. A road whose way up is shaped by
// tbf, a strict S3 server in the cloud, and in the vehicle Layby with what waits already stored. The way is counted at the interface.

import { randomFillSync } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findRclone } from '../src/parts/rclone.ts';
import { curl } from '../test/rig/app.ts';
import { blackhole } from '../test/rig/faults/blackhole.ts';
import { rate } from '../test/rig/faults/rate.ts';
import { noGo } from '../test/rig/go.ts';
import { startLayby } from '../test/rig/layby.ts';
import { DEVICE, makeRoad, noRoad, type Road } from '../test/rig/namespaces.ts';
import { run } from '../test/rig/run.ts';
import { type S3Server, startS3 } from '../test/rig/s3.ts';
import { type Case, planFromArguments, runBench, type Subject } from './harness.ts';
import { Scratch } from './scratch.ts';

const MIB = 1024 * 1024;
const BUCKET = 'bench';
const PATIENCE_MS = 30 * 60_000;

const plan = planFromArguments([], ['mib', 'small']);
const largeBytes = Number(plan.options.mib ?? 256) * MIB;
const small = Number(plan.options.small ?? 2_000);
const SMALL_BYTES = 16 * 1024;

interface Place {
  road: Road;
  s3: S3Server;
  dir: string;
}

/** Bytes that the vehicle has sent, frames and all. */
async function sentBy({ road }: Place): Promise<number> {
  const said = await run(['ip', '-n', road.vehicle.name, '-s', '-j', 'link', 'show', 'dev', DEVICE]);
  return (JSON.parse(said) as { stats64: { tx: { bytes: number } } }[])[0]!.stats64.tx.bytes;
}

/** ms until the server has so many objects. */
async function untilThere({ dir }: Place, objects: number, began: number): Promise<number> {
  const there = async () => (await readdir(join(dir, 's3', BUCKET))).filter((name) => name.endsWith('.bin'));
  while ((await there()).length < objects) {
    if (performance.now() - began > PATIENCE_MS) throw new Error('it does not arrive');
    await sleep(100); // A directory is asked: it does not tell.
  }
  return performance.now() - began;
}

/** Files of random bytes. */
async function files(dir: string, count: number, bytes: number): Promise<string> {
  await mkdir(dir, { recursive: true });
  for (let n = 0; n < count; n++) {
    const body = Buffer.alloc(bytes);
    randomFillSync(body);
    await writeFile(join(dir, `${n}.bin`), body);
  }
  return dir;
}

/** Stores the files in Layby while the operator keeps the link down; `go` opens it and resolves when all has arrived. */
async function stored(place: Place, from: string, count: number): Promise<() => Promise<number>> {
  const { road, s3, dir } = place;
  const layby = await startLayby({
    ...{ road, data: join(dir, 'layby') },
    policy: JSON.stringify({
      ...{ apiVersion: 'layby.dev/v1alpha1', kind: 'Destination', metadata: { name: 'cam' } },
      spec: {
        hosts: ['cam.example'],
        upstream: { url: s3.url, sign: { aws: { service: 's3', region: s3.region } } },
        store: { mode: 'always' },
      },
    }),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  scratch.keep({ stop: () => layby.kill9('all') });
  await layby.link('down');
  for (let n = 0; n < count; n++) {
    const to = `http://cam.example/${BUCKET}/${n}.bin`;
    const body = { file: join(from, `${n}.bin`) };
    const { status } = await curl(to, { road, via: layby.outbound, method: 'PUT', body, maxTime: 600 });
    if (status !== 307) throw new Error(`no receipt: ${status}`);
  }
  return async () => {
    const began = performance.now();
    // Not by the command line: Node's own start would count.
    await curl(`http://${layby.admin}/v1/link`, { road, method: 'POST', body: '{"state":"up"}' });
    const took = await untilThere(place, count, began);
    await layby.kill9('all');
    return took;
  };
}

const withCurl = async (place: Place, from: string, count: number): Promise<() => Promise<number>> => {
  const { road, s3 } = place;
  return async () => {
    const began = performance.now();
    const each = [
      '--parallel',
      '--parallel-max',
      '4',
      '--retry',
      '20',
      '--retry-all-errors',
      '-sS',
      '-o',
      '/dev/null',
    ];
    const sign = [
      '--aws-sigv4',
      `aws:amz:${s3.region}:s3`,
      '--user',
      `${s3.accessKeyId}:${s3.secretAccessKey}`,
    ];
    const what = count === 1 ? `${from}/0.bin` : `{${names(from, count)}}`;
    const upload = ['-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', '-T', what];
    await run(road.inVehicle(['curl', ...each, ...sign, ...upload, `${s3.url}/${BUCKET}/`]), {
      timeout: PATIENCE_MS,
    });
    return untilThere(place, count, began);
  };
};

const names = (from: string, count: number): string =>
  Array.from({ length: count }, (_, n) => `${from}/${n}.bin`).join(',');

const withRclone = async (place: Place, from: string, count: number): Promise<() => Promise<number>> => {
  const { road, s3 } = place;
  const rclone = await findRclone();
  return async () => {
    const began = performance.now();
    const remote = `:s3,provider=Other,access_key_id=${s3.accessKeyId},secret_access_key='${s3.secretAccessKey}',endpoint='${s3.url}':${BUCKET}`;
    const flags = ['--config', '/dev/null', '--transfers', '4', '--retries', '20', '--s3-no-check-bucket'];
    await run(road.inVehicle([rclone, 'copy', from, remote, ...flags]), { timeout: PATIENCE_MS });
    return untilThere(place, count, began);
  };
};

type Sender = (place: Place, from: string, count: number) => Promise<() => Promise<number>>;
const SENDERS: [string, Sender][] = [
  ['Layby', stored],
  ['rclone copy', withRclone],
  ['curl -T', withCurl],
];

interface Way {
  mbit: number;
  /** ms with and without the way, over and over. */
  flap?: { up: number; down: number };
}

/** One sender on a fresh road; resolves with what it took and what went over the way. */
async function measure(sender: Sender, { mbit, flap }: Way, count: number, bytes: number) {
  const dir = join(scratch.dir, `run-${++runs}`);
  const road = await makeRoad();
  const s3 = await startS3({ server: 'versitygw', dir: join(dir, 's3'), buckets: [BUCKET], road });
  const place = { road, s3, dir };
  const narrow = rate(road, { up: mbit });
  const cut = blackhole(road);
  const over = new AbortController();
  try {
    const go = await sender(place, await files(join(dir, 'files'), count, bytes), count);
    await narrow.inject();
    const before = await sentBy(place);
    const flapping = flap && flapUntil(over.signal, flap, cut);
    const ms = await go();
    const sent = (await sentBy(place)) - before;
    over.abort();
    await flapping;
    return { goodput: (count * bytes * 8) / 1000 / ms / mbit, wire: sent / (count * bytes) };
  } finally {
    over.abort();
    await s3.stop();
    await road.remove();
  }
}

async function flapUntil(
  signal: AbortSignal,
  { up, down }: { up: number; down: number },
  cut: ReturnType<typeof blackhole>,
): Promise<void> {
  const wait = (ms: number) => sleep(ms, undefined, { signal }).catch(() => {});
  while (!signal.aborted) {
    await wait(up);
    if (signal.aborted) break;
    await cut.inject();
    await wait(down);
    await cut.clear();
  }
}

let runs = 0;
const scratch = await Scratch.make(plan.dir);

const subjects = (
  way: Way,
  count: number,
  bytes: number,
  of: 'goodput' | 'wire',
  only = SENDERS,
): Subject[] =>
  only.map(([label, sender]) => ({
    ...{ subject: label === 'Layby' ? 'layby' : label, label },
    ...(of === 'goodput'
      ? { metric: 'goodput', unit: 'of the rate' }
      : { metric: 'bytes on the way', unit: '× the object' }),
    measure: async () => (await measure(sender, way, count, bytes))[of],
  }));

const large = `${largeBytes / MIB} MiB`;
const cases: Case[] = [
  { case: `${large} at 40 Mbit/s`, once: true, subjects: subjects({ mbit: 40 }, 1, largeBytes, 'goodput') },
  {
    case: `${small} × 16 KiB at 40 Mbit/s`,
    once: true,
    subjects: subjects({ mbit: 40 }, small, SMALL_BYTES, 'goodput'),
  },
  {
    case: `${large} at 8 Mbit/s, 3 s blackhole every 10 s`,
    once: true,
    subjects: subjects(
      { mbit: 8, flap: { up: 7_000, down: 3_000 } },
      1,
      Math.min(largeBytes, 64 * MIB),
      'wire',
    ),
  },
];

if (noRoad || noGo) throw new Error(`bench:replay needs ${noRoad || noGo}`);
try {
  await runBench('replay', cases, plan, { link: 'tbf, both ways', server: 'versitygw' });
} finally {
  await scratch.stop();
}
