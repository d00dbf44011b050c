// `npm run bench`: what a receipt costs, with the link down. Through Envoy, as apps call; at the queue, to see what Envoy costs;
// beside the same way without the store, and beside what LevelDB and the disk can do at all.

import { join } from 'node:path';
import { envoyVersion, findEnvoy } from '../src/parts/envoy.ts';
import { messageOf } from '../src/telemetry/error.ts';
import type { Address } from '../src/wire/address.ts';
import type { LoadResult } from './closed-loop.ts';
import { type Case, planFromArguments, runBench, type Subject } from './harness.ts';
import type { Limit, LimitResult } from './limits.ts';
import type { Load } from './load-http.ts';
import { HOST, startEnvoyBefore, startLayby } from './mesh.ts';
import { Scratch } from './scratch.ts';
import type { Serve } from './servers.ts';
import type { Worker } from './worker.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Before each measurement, ms: connections open, and what the subject before left behind is done. */
const WARM_UP = 250;

interface Shape {
  name: string;
  bytes: number;
  connections: number;
  /** Small bodies are counted, large ones weighed (MB are 10^6 bytes). */
  by: 'count' | 'weight';
}

const SHAPES: Shape[] = [
  { name: '1 KiB, 1 connection', bytes: KIB, connections: 1, by: 'count' },
  { name: '1 KiB, 32 connections', bytes: KIB, connections: 32, by: 'count' },
  { name: '64 KiB, 32 connections', bytes: 64 * KIB, connections: 32, by: 'weight' },
  { name: '64 MiB, 1 connection', bytes: 64 * MIB, connections: 1, by: 'weight' },
];

const ENVOY = 'through Envoy';
const QUEUE = 'at the queue';

interface Ways {
  layby: Record<typeof ENVOY | typeof QUEUE, Address>;
  noStore: Record<typeof ENVOY | typeof QUEUE, Address>;
  sink: Address;
}

interface Instruments {
  load: Worker<Load, LoadResult>;
  limits: Worker<Limit, LimitResult>;
  dir: string;
}

const rate = ({ by, bytes }: Shape, count: number, seconds: number): number =>
  by === 'count' ? count / seconds : (count * bytes) / 1e6 / seconds;

function caseOf(shape: Shape, ways: Ways, { load, limits, dir }: Instruments): Case {
  const unit = shape.by === 'count' ? '/s' : 'MB/s';
  const metric = shape.by === 'count' ? 'receipts' : 'stored';
  const { bytes, connections } = shape;
  const upload =
    (to: Address) =>
    async (duration: number): Promise<number> => {
      const result = await load.ask({
        ...{ to, host: HOST, connections, bytes, status: 307 },
        ...{ warmup: Math.min(WARM_UP, duration / 2), duration },
      });
      return rate(shape, result.requests, result.seconds);
    };
  const limit = (label: string, metric: string, one: Omit<Limit, 'dir' | 'duration'>): Subject => ({
    ...{ subject: 'limit', label, metric, unit },
    measure: async (duration) => {
      const { operations, seconds } = await limits.ask({ ...one, dir, duration });
      return rate({ ...shape, bytes: one.bytes }, operations, seconds);
    },
  });
  const leveldb = 'LevelDB alone, group commit';
  const leveldbStrict = 'LevelDB alone, 1 MiB synced each';
  const store = bytes > MIB ? leveldbStrict : leveldb;
  const way = (way: typeof ENVOY | typeof QUEUE): Subject[] => [
    {
      ...{ subject: 'layby', label: `layby, ${way}`, way, metric, unit },
      ratioTo: [`no store, ${way}`, store],
      measure: upload(ways.layby[way]),
    },
    {
      ...{ subject: 'no store', label: `no store, ${way}`, way, metric: 'answers', unit },
      measure: upload(ways.noStore[way]),
    },
  ];
  const layby = way(ENVOY);
  const direct = way(QUEUE);
  return {
    case: shape.name,
    subjects: [
      ...[layby[0]!, direct[0]!, layby[1]!, direct[1]!],
      bytes > MIB
        ? limit(leveldbStrict, 'LevelDB', { kind: 'leveldb', bytes: MIB, atOnce: 1 })
        : limit(leveldb, 'LevelDB', { kind: 'leveldb', bytes, atOnce: connections }),
      shape.by === 'count'
        ? limit(`the disk: 4 KiB and fdatasync, ${connections} at once`, 'fdatasyncs', {
            ...{ kind: 'fdatasync', bytes: 4 * KIB, atOnce: connections },
          })
        : limit('the disk: 1 MiB and fdatasync each', 'fdatasync', {
            ...{ kind: 'fdatasync', bytes: MIB, atOnce: 1 },
          }),
      {
        ...{ subject: 'limit', label: 'the load itself, against a bare socket', metric: 'requests', unit },
        measure: upload(ways.sink),
      },
    ],
  };
}

const plan = planFromArguments();
const envoy = await findEnvoy({ onFetch: (name) => console.error(`fetching ${name} (once)`) });
const scratch = await Scratch.make(plan.dir);
const { dir } = scratch;

try {
  const at = (name: string): Address => ({ unix: join(dir, name) });
  const load = scratch.worker<Load, LoadResult>('./load-http.ts');
  // As many threads as appends at once: libuv has 4 by default.
  const limits = scratch.worker<Limit, LimitResult>('./limits.ts', { env: { UV_THREADPOOL_SIZE: '32' } });
  await scratch.worker<Serve, void>('./servers.ts').ask({ kind: 'no-store', at: at('no-store.sock') });
  await scratch.worker<Serve, void>('./servers.ts').ask({ kind: 'sink', at: at('sink.sock') });
  const layby = scratch.keep(await startLayby(dir, envoy));
  const noStore = scratch.keep(await startEnvoyBefore(at('no-store.sock'), envoy, dir, 'no-store'));
  const ways: Ways = {
    layby: { [ENVOY]: layby.outbound, [QUEUE]: layby.queue },
    noStore: { [ENVOY]: noStore.outbound, [QUEUE]: at('no-store.sock') },
    sink: at('sink.sock'),
  };
  const cases = SHAPES.map((shape) => caseOf(shape, ways, { load, limits, dir }));
  const version = (await envoyVersion(envoy)) ?? 'unknown';
  await Promise.race([
    runBench('receipts', cases, { ...plan, dir }, { Envoy: version }),
    Promise.all([layby.lost, noStore.lost]),
  ]);
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exitCode = 1;
} finally {
  await scratch.stop();
}
process.exit();
