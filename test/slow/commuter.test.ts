// A commuter's 24 hours in two minutes: a real store and the real replay, and a destination that is out of reach in tunnels,
// garages and at night, when the machine is off. Nothing is lost, the order is kept, and nothing grows. Time is compressed, and with it
// the longest pause between two tries; what the disk and the loopback take is not.

import { readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { put } from '../../src/store/conformance.ts';
import { NO_LINK_HEADER } from '../../src/wire/names.ts';
import { destinationOf } from '../queue/scene.ts';
import { type Asked, QUOTA, read, startReplay } from '../replay/scene.ts';
import { between, randomFrom } from '../rig/random.ts';
import { commute, type Stretch } from './fixtures/commute.ts';

const SEED = Number(process.env.LAYBY_SEED ?? 1);
const DAY_S = 86_400;
/** Wall, s. */
const DAY_TAKES = Number(process.env.LAYBY_DAY ?? 140);
const KIB = 1024;
const MIB = 1024 * KIB;

t.setTimeout(240_000);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** [destination, class, every so many s, bytes, keys]. */
const APPS: readonly [string, Destination['store']['class'], number, readonly [number, number], number][] = [
  ['events', 'normal', 60, [0, 2 * KIB], 5],
  ['clips', 'bulk', 300, [256 * KIB, MIB], 1_000],
  ['alarms', 'evidence', 600, [KIB, 64 * KIB], 1],
];
const CLASSES = ['bulk', 'normal', 'urgent', 'evidence'];

const files = (): number => readdirSync('/proc/self/fd').length;

t.test(`24 hours of a commuter, seed ${SEED}`, async (t) => {
  const compressed = DAY_TAKES / DAY_S;
  const retry = { max: Math.ceil(30_000 * compressed) };
  const destinations = APPS.map(([name, cls]) => ({
    ...destinationOf(name, { class: cls }),
    replay: { concurrency: 4, resume: 'none' as const, retry },
  }));
  const scene = await startReplay(t, ...destinations);
  const timetable = commute(SEED);
  const random = randomFrom(SEED + 1);
  let stretch: Stretch = timetable[0]!;
  const hanging = new Set<IncomingMessage | ServerResponse>();
  /** By key, the numbers in the order of their receipts, and as they arrived whole. */
  const promised = new Map<string, number[]>();
  const arrived = new Map<string, number[]>();
  let answersLost = 0;
  const note = (of: Map<string, number[]>, key: string, n: number): void => {
    const all = of.get(key);
    if (all) all.push(n);
    else of.set(key, [n]);
  };

  scene.answer = async (asked: Asked, request, response) => {
    scene.asked.length = 0;
    const noLink = (): void => void response.writeHead(503, { [NO_LINK_HEADER]: 'UF' }).end();
    if (stretch.kind === 'garage' || stretch.kind === 'night') {
      request.resume().on('end', noLink);
      return;
    }
    // Into a tunnel: it hangs until the link is back, and then it may go on or be lost.
    const was = stretch;
    await read(asked, request);
    const [, key, n] = /^\/(.*)\/(\d+)$/.exec(asked.path)!;
    if (stretch.kind === 'tunnel') {
      hanging.add(response);
      response.on('close', () => hanging.delete(response));
      const arrives = random() < 0.5;
      if (arrives) note(arrived, `${asked.destination}/${key}`, Number(n));
      while (stretch.kind === 'tunnel' && !response.destroyed) await sleep(5);
      if (arrives) answersLost += 1;
      response.destroy();
      return;
    }
    // The link went and came back in the middle of the body.
    if (stretch !== was && random() < 0.5) {
      response.destroy();
      return;
    }
    note(arrived, `${asked.destination}/${key}`, Number(n));
    response.end();
  };

  const peak = { entries: 0, disk: 0, held: 0 };
  const marks: { files: number; heap: number }[] = [];
  const waiting = (): number =>
    [...scene.store.totals().values()].reduce((sum, { entries }) => sum + entries, 0);
  const held = (): number => [...scene.store.totals().values()].reduce((sum, one) => sum + one.held, 0);
  const look = async (): Promise<void> => {
    peak.entries = Math.max(peak.entries, waiting());
    peak.held = Math.max(peak.held, held());
    peak.disk = Math.max(peak.disk, await scene.store.physicalBytes());
  };
  const say = (up: boolean): void => {
    for (const { name } of destinations) scene.replay.link(name, { up, by: 'kernel', since: 0 });
  };

  const began = performance.now();
  const now = (): number => (performance.now() - began) / 1000 / compressed;
  const until = (at: number): Promise<unknown> => sleep(Math.max(0, (at - now()) * compressed * 1000));
  let count = 0;
  const app = async ([name, cls, every, bytes, keys]: (typeof APPS)[number]): Promise<void> => {
    for (let at = 0; at < DAY_S; at += every) {
      await until(at);
      if (timetable.find(({ until: end }) => at < end)?.kind === 'night') continue;
      while (switching) await switching;
      const key = `k${between(random, [1, keys])}`;
      const n = count++;
      await put(scene.store, Buffer.alloc(between(random, bytes), n), {
        ...{ method: name === 'events' ? 'POST' : 'PUT', url: `http://${name}.example/${key}/${n}` },
        ...{ destination: name, orderKey: `${name}/${key}`, class: CLASSES.indexOf(cls) },
      });
      note(promised, `${name}/${key}`, n);
    }
  };
  let switching: Promise<void> | undefined;
  const drive = async (): Promise<void> => {
    for (const next of timetable) {
      await until(next.from);
      const before = stretch.kind;
      stretch = next;
      if (next.kind === 'night') {
        switching = scene.again();
        await switching;
        switching = undefined;
      }
      if (next.kind === 'garage' || next.kind === 'night') say(false);
      else if (before === 'garage' || before === 'night') say(true);
      await look();
      collect();
      marks.push({ files: files(), heap: process.memoryUsage().heapUsed / MIB });
    }
    await until(DAY_S);
  };
  const watch = setInterval(() => void look().catch(() => {}), 500);
  await Promise.all([drive(), ...APPS.map(app)]);
  await scene.until(() => waiting() === 0, 30_000);
  clearInterval(watch);

  const all = [...promised.values()].reduce((sum, { length }) => sum + length, 0);
  const lost: string[] = [];
  const disordered: string[] = [];
  let again = 0;
  for (const [key, numbers] of promised) {
    const got = arrived.get(key) ?? [];
    const first = [...new Set(got)];
    again += got.length - first.length;
    for (const n of numbers) if (!first.includes(n)) lost.push(`${key}/${n}`);
    if (first.some((n, at) => n !== numbers[at])) disordered.push(key);
  }
  t.ok(all > 1_200, `${all} entries in ${timetable.length} stretches`);
  t.same(lost, [], 'nothing is lost');
  t.same(disordered, [], 'each key in the order of its receipts');
  t.ok(again <= answersLost, `${again} came twice, of which ${answersLost} lost their answer in a tunnel`);

  const rate = APPS.reduce((sum, [, , every]) => sum + 1 / every, 0);
  const longest = Math.max(
    ...timetable.filter(({ kind }) => kind !== 'road' && kind !== 'night').map((one) => one.until - one.from),
  );
  t.ok(
    peak.entries < 2 * rate * longest + 100,
    `${peak.entries} waited at most; the longest gap was ${Math.round(longest / 60)} min`,
  );
  t.ok(
    peak.disk < 2 * peak.held + QUOTA / 2,
    `${Math.round(peak.disk / MIB)} MiB on the disk at most, ${Math.round(peak.held / MIB)} of them live`,
  );
  const half = Math.floor(marks.length / 2);
  const most = (part: typeof marks, of: 'files' | 'heap'): number =>
    Math.max(...part.map((mark) => mark[of]));
  const [early, late] = [marks.slice(0, half), marks.slice(half)];
  t.ok(
    most(late, 'files') <= most(early, 'files') + 10,
    `open files ${most(early, 'files')}, then ${most(late, 'files')}`,
  );
  t.ok(
    most(late, 'heap') < most(early, 'heap') + 15,
    `heap ${most(early, 'heap').toFixed(1)} MiB, then ${most(late, 'heap').toFixed(1)}`,
  );
  t.equal(hanging.size, 0);
});
