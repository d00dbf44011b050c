// `npm run bench:online`: what the mesh costs while the link is there, beside an Envoy that somebody configured by hand. Small
// requests go straight out and never meet the queue; large bodies pass it and are spooled on the way (cut-through).

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { envoyVersion, findEnvoy } from '../src/parts/envoy.ts';
import { messageOf } from '../src/telemetry/error.ts';
import { type Address, formatAddress } from '../src/wire/address.ts';
import { rate } from '../test/rig/faults/rate.ts';
import { makeRoad, noRoad, type Road } from '../test/rig/namespaces.ts';
import { bareEnvoy } from './bare-envoy.ts';
import type { LoadResult } from './closed-loop.ts';
import { cpuSeconds } from './cpu.ts';
import { type Case, planFromArguments, runBench, type Subject } from './harness.ts';
import type { Load } from './load-http.ts';
import { freeAddress, HOST, type Running, startEnvoy, startLayby } from './mesh.ts';
import { Scratch } from './scratch.ts';
import type { Serve } from './servers.ts';
import type { Worker } from './worker.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Of the narrow link, Mbit/s. */
const NARROW = 500;

interface Way {
  label: string;
  to: Address;
  /** The processes that it costs. */
  pids: number[];
}

interface Place {
  name: string;
  layby: Way;
  bare: Way;
  /** Two Envoys, one behind the other: what the way through the sidecar, out of it, and in again costs without a queue. */
  twice: Way;
  load: Worker<Load, LoadResult>;
}

/** On loopback where there is no road, else in the vehicle, with the server in the cloud. */
async function placeOf(name: string, envoy: string, scratch: Scratch, road?: Road): Promise<Place> {
  const dir = join(scratch.dir, name.replaceAll(' ', '-'));
  await mkdir(dir);
  const inside = road ? road.inVehicle([]) : [];
  const server = scratch.worker<Serve, Address>('./servers.ts', road && { inside: road.inCloud([]) });
  const host = road ? road.cloud.address : '127.0.0.1';
  const sink = await server.ask({ kind: 'sink', at: { host, port: 0 }, status: 200 });
  const load = scratch.worker<Load, LoadResult>('./load-http.ts', { inside });
  const layby = scratch.keep(
    await startLayby(dir, envoy, { upstream: `http://${formatAddress(sink)}`, inside }),
  );
  const before = async (upstream: Address, name: string): Promise<Running> => {
    const outbound = await freeAddress();
    const bootstrap = (admin: string) => bareEnvoy(outbound, upstream, admin);
    return scratch.keep(await startEnvoy({ envoy, dir, name, outbound, bootstrap, inside }));
  };
  const bare = await before(sink, 'bare');
  const twice = await before(bare.outbound, 'twice');
  return {
    name,
    load,
    layby: { label: 'layby', to: layby.outbound, pids: [layby.pid] },
    bare: { label: 'an Envoy by hand', to: bare.outbound, pids: [bare.pid] },
    twice: { label: 'two Envoys by hand, in a row', to: twice.outbound, pids: [twice.pid, bare.pid] },
  };
}

/** Throughput of one way, and beside it its slowest hundredth and its CPU. */
function subjects(
  way: Way,
  ask: Omit<Load, 'to' | 'host' | 'warmup' | 'duration' | 'status'>,
  load: Place['load'],
  ratioTo: string[],
): Subject[] {
  const heavy = ask.bytes >= MIB;
  let last = { result: {} as LoadResult, cpu: 0 };
  const used = () => way.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const subject = way.label === 'layby' ? 'layby' : 'limit';
  const row = (metric: string, unit: string, value: () => number): Subject => ({
    ...{ subject, label: `${way.label}: ${metric}`, metric, unit },
    measure: async () => value(),
  });
  return [
    {
      ...{ subject, label: way.label, metric: 'answered', unit: heavy ? 'MB/s' : '/s', ratioTo },
      measure: async (duration) => {
        const before = used();
        const result = await load.ask({ ...ask, to: way.to, host: HOST, warmup: 0, duration, status: 200 });
        last = { result, cpu: used() - before };
        return (heavy ? (result.requests * ask.bytes) / 1e6 : result.requests) / result.seconds;
      },
    },
    ...(heavy ? [] : [row('p99', 'ms', () => last.result.p99)]),
    row('CPU', heavy ? 'ms per MB' : 'µs per request', () =>
      heavy ? (last.cpu * 1e9) / (last.result.requests * ask.bytes) : (last.cpu * 1e6) / last.result.requests,
    ),
  ];
}

function largeCase({ name, layby, bare, twice, load }: Place): Case {
  const ask = { bytes: 64 * MIB, connections: 1 };
  return {
    case: `PUT of 64 MiB, ${name}`,
    subjects: [
      ...subjects(layby, ask, load, [bare.label, twice.label]),
      ...subjects(bare, ask, load, []),
      ...subjects(twice, ask, load, []),
    ],
  };
}

function smallCase(bytes: number, connections: number, { name, layby, bare, load }: Place): Case {
  const ask = { bytes, connections };
  return {
    case: `PUT of ${bytes / KIB} KiB, ${connections} connections, ${name}`,
    subjects: [...subjects(layby, ask, load, [bare.label]), ...subjects(bare, ask, load, [])],
  };
}

const plan = planFromArguments();
const envoy = await findEnvoy({ onFetch: (name) => console.error(`fetching ${name} (once)`) });
const scratch = await Scratch.make(plan.dir);
try {
  const loopback = await placeOf('on loopback', envoy, scratch);
  const cases = [smallCase(KIB, 32, loopback), smallCase(64 * KIB, 32, loopback), largeCase(loopback)];
  if (noRoad) console.error(`bench: no narrow link: ${noRoad}`);
  else {
    const road = await makeRoad();
    scratch.keep({ stop: () => road.remove() });
    await rate(road, { up: NARROW }).inject();
    cases.push(largeCase(await placeOf(`over a link of ${NARROW} Mbit per s`, envoy, scratch, road)));
  }
  await runBench('online', cases, plan, { Envoy: (await envoyVersion(envoy)) ?? 'unknown' });
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exitCode = 1;
} finally {
  await scratch.stop();
}
process.exit();
