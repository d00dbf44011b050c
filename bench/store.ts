// `npm run bench:store`: what the store costs by itself, beside LevelDB alone and plain files; and what a receipt costs over HTTP, beside
// what else keeps uploads on a disk. Peers that are not installed are skipped by name.

import { LEAN } from '../src/embedded/lean.ts';
import { envoyVersion, findEnvoy } from '../src/parts/envoy.ts';
import { parseDuration } from '../src/policy/units.ts';
import { messageOf } from '../src/telemetry/error.ts';
import type { Address } from '../src/wire/address.ts';
import type { LoadResult } from './closed-loop.ts';
import type { Fill, FillAnswer } from './fill.ts';
import { type Case, planFromArguments, runBench, type Subject } from './harness.ts';
import type { Limit, LimitResult } from './limits.ts';
import type { Load } from './load-http.ts';
import type { NatsLoad } from './load-nats.ts';
import { HOST, startLayby } from './mesh.ts';
import { PEERS } from './peers/lock.ts';
import { type RunningPeer, startPeers } from './peers/start.ts';
import { Scratch } from './scratch.ts';
import type { StoreAnswer, StoreQuestion } from './store-alone.ts';
import { Worker } from './worker.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
/** Before each measurement over HTTP, ms. */
const WARM_UP = 250;

/** What is written and drained in one measurement, bytes. */
interface Sizes {
  bodies: number;
  steady: number;
  drain: number;
}

const plan = planFromArguments(['full'], ['steady-for']);
/** A long run of the steady queue alone, at a rate that leaves the machine to others. */
const steadyFor = plan.options['steady-for'];
const STEADY_RATE = 25e6;
const quick = plan.duration < 1_000;
const sizes: Sizes = plan.flags.has('full')
  ? { bodies: 4 * GIB, steady: 4 * GIB, drain: GIB }
  : {
      bodies: quick ? 256 * MIB : 512 * MIB,
      steady: quick ? 256 * MIB : GIB,
      drain: quick ? 256 * MIB : GIB,
    };

const scratch = await Scratch.make(plan.dir);
const { dir } = scratch;

const megabytes = (bytes: number): number => bytes / 1e6;

/** A subject, and beside it what else its measurement found: rows that measure nothing themselves. */
function measured<Answer>(
  subject: Omit<Subject, 'measure'>,
  ask: (duration: number) => Promise<Answer>,
  value: (answer: Answer) => number,
  also: { metric: string; unit: string; value: (answer: Answer) => number }[] = [],
): Subject[] {
  let last: Answer | undefined;
  return [
    {
      ...subject,
      measure: async (duration) => {
        last = await ask(duration);
        return value(last);
      },
    },
    ...also.map((one) => ({
      ...{
        subject: subject.subject,
        label: `${subject.label}: ${one.metric}`,
        metric: one.metric,
        unit: one.unit,
      },
      measure: async () => one.value(last!),
    })),
  ];
}

interface Alone {
  store: Worker<StoreQuestion, StoreAnswer>;
  fill: Worker<Fill, FillAnswer>;
  limits: Worker<Limit, LimitResult>;
}

const AMPLIFICATION = {
  ...{ metric: 'write amplification', unit: 'written / stored' },
  value: ({ amplification }: { amplification: number }) => amplification,
};

const perSecond = ({ bytes, seconds }: { bytes: number; seconds: number }): number =>
  megabytes(bytes) / seconds;

function bodiesCase(writers: number, { store, fill }: Alone): Case {
  const bytes = 64 * MIB;
  // Each writer has one body at least.
  const total = Math.max(sizes.bodies, writers * bytes);
  const unit = 'MB/s';
  const without = (label: string, question: Pick<Fill, 'kind' | 'batch' | 'writers'>) =>
    measured(
      { subject: 'limit', label, metric: 'stored', unit },
      () => fill.ask({ dir, bytes, total, ...question }),
      perSecond,
      [AMPLIFICATION],
    );
  const single = 'LevelDB alone, 1 MiB synced each';
  const batches = 'LevelDB alone, batches of 4 MiB synced';
  const plain = 'plain writes of 1 MiB, fdatasync each';
  return {
    case: `the store alone, 64 MiB bodies, ${writers === 1 ? '1 writer' : `${writers} writers`}`,
    subjects: [
      ...measured(
        { subject: 'layby', label: 'layby', metric: 'stored', unit, ratioTo: [single, batches, plain] },
        () => store.ask({ kind: 'bodies', dir, bytes, writers, total }),
        perSecond,
        [AMPLIFICATION],
      ),
      ...without(single, { kind: 'leveldb', batch: MIB, writers }),
      ...without(batches, { kind: 'leveldb', batch: 4 * MIB, writers }),
      ...without(plain, { kind: 'files', batch: MIB, writers }),
    ],
  };
}

function entriesCase(waiting: number, { store, limits }: Alone): Case {
  const bytes = KIB;
  const group = 'LevelDB alone, group commit';
  return {
    case: `the store alone, 1 KiB entries, ${waiting} waiting`,
    subjects: [
      ...measured(
        { subject: 'layby', label: 'layby', metric: 'commits', unit: '/s', ratioTo: [group] },
        (duration) => store.ask({ kind: 'entries', dir, bytes, waiting, duration }),
        ({ entries, seconds }) => entries / seconds,
        [
          AMPLIFICATION,
          { metric: 'CPU', unit: 'µs a commit', value: (all) => (all.cpu * all.seconds * 1e6) / all.entries },
        ],
      ),
      ...measured(
        { subject: 'limit', label: group, metric: 'puts', unit: '/s' },
        (duration) => limits.ask({ kind: 'leveldb', dir, bytes, atOnce: waiting, duration }),
        ({ operations, seconds }) => operations / seconds,
      ),
    ],
  };
}

const steadyCase = (name: string, total: number, rate?: number): Case => ({
  case: `${name}: 512 MiB wait, 16 MiB bodies, store one and deliver one, one old dead letter`,
  subjects: measured(
    { subject: 'layby', label: 'layby', metric: 'through', unit: 'MB/s' },
    async () => {
      // A process of its own: what the measurements before left in memory is not its own.
      const fresh = new Worker<StoreQuestion, StoreAnswer>('./store-alone.ts', LEAN);
      try {
        const question = { dir, bytes: 16 * MIB, backlog: 512 * MIB, total };
        return await fresh.ask({ kind: 'steady', ...question, ...(rate && { rate }) });
      } finally {
        await fresh.stop();
      }
    },
    perSecond,
    [
      AMPLIFICATION,
      { metric: 'peak disk', unit: 'disk / live', value: ({ diskToLive }) => diskToLive },
      { metric: 'peak RssAnon', unit: 'MB', value: ({ rssAnon }) => rssAnon },
      { metric: 'longest stall of the event loop', unit: 'ms', value: ({ stall }) => stall },
      { metric: 'the same, while it had a core', unit: 'ms', value: ({ ownStall }) => ownStall },
    ],
  ),
});

const drainCase = ({ store }: Alone): Case => ({
  case: `delivering ${sizes.drain / MIB} MiB until less than 64 MiB is on the disk`,
  subjects: measured(
    { subject: 'layby', label: 'layby', metric: 'took', unit: 's' },
    () => store.ask({ kind: 'drain', dir, bytes: 16 * MIB, total: sizes.drain, floor: 64 * MIB }),
    ({ seconds }) => seconds,
  ),
});

const SHAPES = [
  { name: '1 KiB, 1 connection', bytes: KIB, connections: 1 },
  { name: '1 KiB, 32 connections', bytes: KIB, connections: 32 },
  { name: '64 KiB, 32 connections', bytes: 64 * KIB, connections: 32 },
  { name: '64 MiB, 1 connection', bytes: 64 * MIB, connections: 1 },
];

interface Loads {
  http: Worker<Load, LoadResult>;
  nats: Worker<NatsLoad, LoadResult>;
}

function shapeCase(
  { name, bytes, connections }: (typeof SHAPES)[number],
  layby: { label: string; to: Address }[],
  peers: RunningPeer[],
  loads: Loads,
): Case {
  const count = bytes === KIB;
  const unit = count ? '/s' : 'MB/s';
  const rate = ({ requests, seconds }: LoadResult): number =>
    count ? requests / seconds : megabytes(requests * bytes) / seconds;
  const shape = (duration: number) => ({
    bytes,
    connections,
    duration,
    warmup: Math.min(WARM_UP, duration / 2),
  });
  const named = ({ label, durable }: RunningPeer): string => `${label} (${durable ? 'fsync' : 'no fsync'})`;
  return {
    case: `HTTP, ${name}`,
    subjects: [
      ...layby.map(({ label, to }) => ({
        ...{ subject: 'layby', label: `${label} (fsync)`, metric: 'receipts', unit, way: label },
        ratioTo: peers.filter(({ durable }) => durable).map(named),
        measure: async (duration: number) =>
          rate(await loads.http.ask({ to, host: HOST, status: 307, ...shape(duration) })),
      })),
      ...peers.map((peer) => ({
        ...{ subject: peer.label, label: named(peer), metric: 'acknowledged', unit },
        measure: async (duration: number) => {
          const { http, nats } = peer;
          const result = nats
            ? await loads.nats.ask({ port: nats.port, ...shape(duration) })
            : await loads.http.ask({ ...http!(bytes), ...shape(duration) });
          await peer.clean();
          return rate(result);
        },
      })),
    ],
  };
}

async function long(duration: number): Promise<void> {
  const minutes = Math.round(duration / 60_000);
  const name = `a steady queue for ${minutes} minutes at ${megabytes(STEADY_RATE)} MB/s`;
  const total = (STEADY_RATE * duration) / 1000;
  await runBench('store', [{ ...steadyCase(name, total, STEADY_RATE), once: true }], { ...plan, dir }, {});
}

async function compare(): Promise<void> {
  const alone: Alone = {
    store: scratch.worker('./store-alone.ts', LEAN),
    fill: scratch.worker('./fill.ts'),
    // As many threads as puts at once: libuv has 4 by default.
    limits: scratch.worker('./limits.ts', { env: { UV_THREADPOOL_SIZE: '32' } }),
  };
  const loads: Loads = { http: scratch.worker('./load-http.ts'), nats: scratch.worker('./load-nats.ts') };
  const envoy = await findEnvoy({ onFetch: (name) => console.error(`fetching ${name} (once)`) });
  const mesh = scratch.keep(await startLayby(dir, envoy));
  const peers = await startPeers(dir, (why) => console.error(`skipped: ${why}`));
  for (const peer of peers) scratch.keep(peer);
  const layby = [
    { label: 'layby, through Envoy', to: mesh.outbound },
    { label: 'layby, at the queue', to: mesh.queue },
  ];
  const cases = [
    ...[1, 8].map((writers) => bodiesCase(writers, alone)),
    ...[1, 64, 256].map((waiting) => entriesCase(waiting, alone)),
    ...[steadyCase('a steady queue', sizes.steady), drainCase(alone)],
    ...SHAPES.map((shape) => shapeCase(shape, layby, peers, loads)),
  ];
  const versions = Object.fromEntries(Object.values(PEERS).map(({ title, version }) => [title, version]));
  await Promise.race([
    runBench(
      'store',
      cases,
      { ...plan, dir },
      { Envoy: (await envoyVersion(envoy)) ?? 'unknown', ...versions },
    ),
    mesh.lost,
  ]);
}

try {
  if (steadyFor === undefined) await compare();
  else await long(parseDuration(steadyFor));
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exitCode = 1;
} finally {
  await scratch.stop();
}
process.exit();
