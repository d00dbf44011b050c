// `npm run bench:replay`: what replay makes of a narrow link and of one with holes, beside rclone, curl and an SDK on the same one. A road
// whose way up is shaped by tbf, a strict S3 server in the cloud, and in the vehicle whoever sends. The way is counted at the interface.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { noGo } from '../test/rig/go.ts';
import { noDelay } from '../test/rig/namespaces.ts';
import { type Case, planFromArguments, runBench, type Subject } from './harness.ts';
import { type Measured, measure, type Way } from './replay/road.ts';
import { RESUMING, SENDERS } from './replay/senders.ts';
import { Scratch } from './scratch.ts';

const MIB = 1024 * 1024;
const SMALL_BYTES = 16 * 1024;

/** From end to end, ms: a round trip is twice that, as on LTE. */
const DELAY = 30;

// --full: the sizes of the goals, and 5 Mbit/s too: two hours. Without it, or with --quick: an hour, most of it for peers that begin anew.
const plan = planFromArguments(['full'], ['mib', 'small', 'senders']);
const full = plan.flags.has('full');
const largeBytes = Number(plan.options.mib ?? (full ? 256 : 64)) * MIB;
const small = Number(plan.options.small ?? (full ? 2_000 : 600));
const holedBytes = Math.min(largeBytes, 64 * MIB);
const isWanted = ([label]: (typeof SENDERS)[number]): boolean => label.includes(plan.options.senders ?? '');
const senders = SENDERS.filter(isWanted);
const resuming = RESUMING.filter(isWanted);

const scratch = await Scratch.make(plan.dir);
let runs = 0;

const METRICS: Readonly<Record<keyof Measured, [metric: string, unit: string]>> = {
  goodput: ['goodput', 'of the rate'],
  used: ['the way, frames and all', 'of the rate'],
  wire: ['bytes on the way', '× the object'],
};

/** A run of a sender gives all of its rows. */
function subjects(
  way: Way,
  count: number,
  bytes: number,
  metrics: readonly (keyof Measured)[],
  from = senders,
): Subject[] {
  return from.flatMap(([label, sender]) => {
    let running: Promise<Measured> | undefined;
    const once = async (): Promise<Measured> => {
      const dir = join(scratch.dir, `run-${++runs}`);
      await mkdir(dir, { recursive: true });
      return measure(dir, sender, way, count, bytes);
    };
    return metrics.map((of) => ({
      subject: label === 'Layby' ? 'layby' : label,
      label: metrics.length > 1 ? `${label}: ${METRICS[of][0]}` : label,
      ...{ metric: METRICS[of][0], unit: METRICS[of][1] },
      measure: async () => {
        running ??= once();
        return (await running)[of];
      },
    }));
  });
}

const mib = (bytes: number): string => `${bytes / MIB} MiB`;
const drained = (mbit: number): Case[] => [
  {
    case: `${mib(largeBytes)} at ${mbit} Mbit/s`,
    once: true,
    subjects: subjects({ mbit, delay: DELAY }, 1, largeBytes, ['goodput', 'used']),
  },
  {
    case: `${small} × 16 KiB at ${mbit} Mbit/s`,
    once: true,
    subjects: subjects({ mbit, delay: DELAY }, small, SMALL_BYTES, ['goodput', 'used']),
  },
];
const holed = (words: string, way: Omit<Way, 'mbit' | 'delay'>): Case => ({
  case: `${mib(holedBytes)} at 8 Mbit/s, ${words}`,
  once: true,
  subjects: subjects({ mbit: 8, delay: DELAY, ...way }, 1, holedBytes, ['wire']),
});

/** The rates that IoT plans throttle to. Links that are so narrow take no time of this machine: all senders go at the same time. Bodies above
 *  1 MiB, or they would not be sent as resumable uploads. */
const NARROW_BYTES = 1.0625 * MIB;
const narrow = (kbit: number): Case => ({
  case: `${mib(NARROW_BYTES)} at ${kbit} kbit/s`,
  ...{ once: true, together: true },
  subjects: subjects({ mbit: kbit / 1000 }, 1, NARROW_BYTES, ['wire', 'goodput'], [...senders, ...resuming]),
});
/** Two parts, of which S3 wants at least 5 MiB. */
const PARTS_BYTES = 6 * MIB;
const inParts: Case = {
  case: `${mib(PARTS_BYTES)} at 64 kbit/s, in parts`,
  ...{ once: true, together: true },
  subjects: subjects({ mbit: 0.064 }, 1, PARTS_BYTES, ['wire', 'goodput']),
};

/** As over a satellite: a connection takes three round trips, with TLS. */
const FAR_BYTES = 4 * MIB;
const far = (delay: number): Case => ({
  case: `${mib(FAR_BYTES)} by TLS over ${2 * delay} ms of round trip, 8 Mbit/s`,
  once: true,
  subjects: subjects({ mbit: 8, delay, tls: true }, 1, FAR_BYTES, ['goodput', 'wire']),
});

const cases: Case[] = [
  ...[375, 500].map(far),
  ...[16, 32, 64].map(narrow),
  inParts,
  ...drained(40),
  ...(full ? drained(5) : []),
  holed('3 s blackhole every 10 s', { flap: { up: 7_000, down: 3_000 } }),
  holed('60 s of cut after every 30 s', { flap: { up: 30_000, down: 60_000 } }),
  holed('kill -9 every 20 s', { killEvery: 20_000 }),
];

if (noDelay || noGo) throw new Error(`bench:replay needs ${noDelay || noGo}`);
try {
  await runBench('replay', cases, plan, { link: 'tbf, both ways', server: 'versitygw' });
} finally {
  await scratch.stop();
}
