// One sender on a fresh road that is shaped and broken: how long it took, and what went over the way for it.

import { randomFillSync } from 'node:crypto';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { blackhole } from '../../test/rig/faults/blackhole.ts';
import { rate } from '../../test/rig/faults/rate.ts';
import { DEVICE, makeRoad } from '../../test/rig/namespaces.ts';
import { run } from '../../test/rig/run.ts';
import { startS3 } from '../../test/rig/s3.ts';
import { BUCKET, type Place, type Sender, type Sending } from './senders.ts';

/** What takes longer than this, of the time that the rate alone would take, does not arrive: some begin from the start again and again. */
const PATIENCE = 6;
const LEAST_PATIENCE_MS = 5 * 60_000;

export interface Way {
  mbit: number;
  /** To a server with a certificate. */
  tls?: boolean;
  /** From end to end, ms; twice that is a round trip. */
  delay?: number;
  /** ms with and without the way, over and over. */
  flap?: { up: number; down: number };
  /** The sender is killed so often, ms. */
  killEvery?: number;
}

export interface Measured {
  /** Payload, of what the rate would carry in the time. */
  goodput: number;
  /** Frames and all, of the same: what was left unused is the rest to 1. */
  used: number;
  /** Frames and all, of the payload; Infinity: it never arrived. */
  wire: number;
}

/** Bytes that the vehicle has sent, frames and all. */
async function sentBy({ road }: Place): Promise<number> {
  const said = await run(['ip', '-n', road.vehicle.name, '-s', '-j', 'link', 'show', 'dev', DEVICE]);
  return (JSON.parse(said) as { stats64: { tx: { bytes: number } } }[])[0]!.stats64.tx.bytes;
}

/** Whether so many objects are in the directory, whole, before it is `late`, ms. A sender that was killed may leave a torn one under its name. */
async function untilThere(where: string, objects: number, bytes: number, late: number): Promise<boolean> {
  const there = async () => {
    const names = (await readdir(where)).filter((name) => !name.startsWith('.') && !name.endsWith('.json'));
    if (names.length < objects) return false;
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(where, name))).size));
    return sizes.every((size) => size === bytes);
  };
  while (!(await there())) {
    if (performance.now() > late) return false;
    await sleep(50); // A directory is asked: it does not tell.
  }
  return true;
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

async function again(
  signal: AbortSignal,
  steps: readonly [ms: number, act: () => Promise<unknown>][],
): Promise<void> {
  while (!signal.aborted)
    for (const [ms, act] of steps) {
      await sleep(ms, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await act();
    }
}

/** `dir`: an empty one of its own. */
export async function measure(
  dir: string,
  sender: Sender,
  way: Way,
  count: number,
  bytes: number,
): Promise<Measured> {
  const { mbit, delay = 0, flap, killEvery, tls = false } = way;
  const road = await makeRoad({ delay });
  const s3 = await startS3({ server: 'versitygw', dir: join(dir, 's3'), buckets: [BUCKET], road, tls });
  const place = { road, s3, dir };
  const cut = blackhole(road);
  const over = new AbortController();
  let sending: Sending | undefined;
  try {
    const one = await sender(place, await files(join(dir, 'files'), count, bytes), count);
    sending = one;
    await rate(road, { up: mbit }).inject();
    const before = await sentBy(place);
    const began = performance.now();
    const faults = [
      flap &&
        again(over.signal, [
          [flap.up, () => cut.inject()],
          [flap.down, () => cut.clear()],
        ]),
      killEvery && again(over.signal, [[killEvery, () => one.kill()]]),
    ];
    await one.go();
    const ideal = (count * bytes) / (mbit * 125);
    const late = began + Math.max(LEAST_PATIENCE_MS, PATIENCE * ideal);
    const there = await untilThere(one.arrives ?? join(dir, 's3', BUCKET), count, bytes, late);
    const ms = performance.now() - began;
    const sent = (await sentBy(place)) - before;
    over.abort();
    await Promise.all(faults);
    const carried = ms * mbit * 125;
    return {
      goodput: there ? (count * bytes) / carried : 0,
      used: sent / carried,
      wire: there ? sent / (count * bytes) : Number.POSITIVE_INFINITY,
    };
  } finally {
    over.abort();
    await sending?.stop();
    await s3.stop();
    await road.remove();
  }
}
