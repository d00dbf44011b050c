// The scene of nearly every test of the whole: a road, an oracle in the cloud, Layby in the vehicle. What a test is about stays
// in the test; what it says of its destinations is one line each.

import { createHash, randomFillSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { type CurlAnswer, type CurlOptions, curl, load } from '../rig/app.ts';
import { type Layby, type LaybyOptions, startLayby } from '../rig/layby.ts';
import type { AppRecord, LoadPlan } from '../rig/load-plan.ts';
import { makeRoad, type Road } from '../rig/namespaces.ts';
import { Oracle } from '../rig/oracle.ts';
import type { Arrival } from '../rig/oracle-protocol.ts';
import { testdir } from '../rig/testdir.ts';

export interface Wanted {
  name: string;
  hosts?: string[];
  url: string;
  sign?: boolean;
  answerTimeout?: string;
  store?: Record<string, unknown>;
  replay?: Record<string, unknown>;
}

/** A policy in the operator's form. Pauses are short, so that a test waits for the link and not for a pause. */
export const policyOf = (...wanted: Wanted[]): string =>
  wanted
    .map(({ name, hosts = [`${name}.example`], url, sign, answerTimeout, store = {}, replay = {} }) =>
      JSON.stringify({
        apiVersion: 'layby.dev/v1alpha1',
        kind: 'Destination',
        metadata: { name },
        spec: {
          hosts,
          upstream: { url, ...(sign ? { sign: { aws: { service: 's3', region: 'us-east-1' } } } : {}) },
          ...(answerTimeout !== undefined && { answerTimeout }),
          store,
          replay: { retry: { max: '1s' }, ...replay },
        },
      }),
    )
    .join('\n---\n');

export interface Scene {
  road: Road;
  oracle: Oracle;
  layby: Layby;
  dir: string;
  /** Starts Layby again on the same data. */
  again(options?: Partial<LaybyOptions>): Promise<Layby>;
  /** A call of an app: the URL is what the app calls, the connection goes to the sidecar. */
  call(url: string, options?: CurlOptions): Promise<CurlAnswer>;
  /** A load of apps against the sidecar. */
  load(
    plan: Partial<LoadPlan> & { host: string; requests: number },
    signal?: AbortSignal,
  ): Promise<AppRecord[]>;
}

export interface SceneOptions extends Partial<Omit<LaybyOptions, 'policy'>> {
  /** Default: one destination, `api`, which is the oracle. */
  destinations?: (oracle: Oracle, road: Road) => Wanted[] | Promise<Wanted[]>;
  /** What is to be there before Layby is. */
  before?: (road: Road) => Promise<void>;
}

/** Of the log, where a test failed. */
const LINES_SHOWN = 30;
const EVERY_ENTRY = /"msg":"(stored|delivered|not sent: no link)"/;

let loads = 0;

/** Everything is torn down with the test. */
export const makeScene = async (t: Test, options: SceneOptions = {}): Promise<Scene> => {
  const { destinations = (oracle) => [{ name: 'api', url: oracle.url }], before, ...rest } = options;
  const dir = testdir(t);
  const road = await makeRoad();
  t.teardown(() => road.remove());
  await before?.(road);
  const oracle = await Oracle.start({ road, file: join(dir, 'cloud.jsonl') });
  t.teardown(() => oracle.stop());
  const policy = policyOf(...(await destinations(oracle, road)));
  const again = async (more: Partial<LaybyOptions> = {}) => {
    const { policyFiles, ...others } = { ...rest, ...more };
    const source = policyFiles ? { policyFiles } : { policy };
    const layby = await startLayby({ road, data: join(dir, 'data'), ...others, ...source });
    t.teardown(() => {
      if (!t.passing())
        t.comment(
          `the last lines of Layby:\n${layby.lines
            .filter((line) => !EVERY_ENTRY.test(line))
            .slice(-LINES_SHOWN)
            .join('\n')}`,
        );
      return layby.kill9('all');
    });
    scene.layby = layby;
    return layby;
  };
  const scene: Scene = {
    ...{ road, oracle, dir, again },
    layby: undefined as unknown as Layby,
    call: (url, call = {}) => curl(url, { road, via: scene.layby.outbound, maxTime: 30, ...call }),
    load: (plan, signal) =>
      load(
        {
          target: `http://${scene.layby.outbound}`,
          ...{ concurrency: 1, keys: 1, bytes: [1024, 1024], seed: 1 },
          out: join(dir, `app-${++loads}.jsonl`),
          ...plan,
        },
        { road, ...(signal ? { signal } : {}) },
      ),
  };
  await again();
  return scene;
};

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A file of random bytes, and its hash. */
export const randomFile = async (
  dir: string,
  name: string,
  bytes: number,
): Promise<{ path: string; sha256: string }> => {
  const content = randomFillSync(Buffer.alloc(bytes));
  const path = join(dir, name);
  await writeFile(path, content);
  return { path, sha256: sha256(content) };
};

/** Values of a header of an arrival, in their order. */
export const headersOf = (arrival: Arrival, name: string): string[] =>
  arrival.rawHeaders.filter((_, at) => at % 2 === 1 && arrival.rawHeaders[at - 1]!.toLowerCase() === name);

/** What happened to the requests that came to the queue: `receipt` → 3. */
export const outcomesAtTheQueue = async (layby: Layby): Promise<Record<string, number>> => {
  const outcomes: Record<string, number> = {};
  for (const [sample, value] of await layby.metrics()) {
    const outcome = /^layby_queue_requests_total\{.*outcome="(\w+)"/.exec(sample)?.[1];
    if (outcome) outcomes[outcome] = (outcomes[outcome] ?? 0) + value;
  }
  return outcomes;
};

/** Resolves when nothing is stored any more. Unlike `untilQueue` it also waits for parts that are being started again. */
export const untilDrained = async (layby: Layby, timeout = 30_000): Promise<void> => {
  const deadline = performance.now() + timeout;
  for (;;) {
    const { status, body } = await layby.get('/v1/queue');
    const left = body.toString();
    if (status === 200 && left.trim() === '[]') return;
    if (performance.now() > deadline)
      throw new Error(`not drained within ${timeout} ms: ${status} ${left.slice(0, 1000)}`);
    await sleep(50); // The admin listener is asked, it does not tell.
  }
};

/** Resolves when no hold is left, so when nothing waits: the next request is sent on, and not stored behind another. */
export const untilDirect = async (layby: Layby, timeout = 120_000): Promise<void> => {
  const deadline = performance.now() + timeout;
  for (;;) {
    const { body } = await layby.get('/v1/status');
    const { destinations } = JSON.parse(body.toString()) as { destinations: { hold: boolean }[] };
    if (destinations.every(({ hold }) => !hold)) return;
    if (performance.now() > deadline) throw new Error(`still held after ${timeout} ms: ${body}`);
    await sleep(50); // The admin listener is asked, it does not tell.
  }
};

/** Resolves when a sidecar is connected and has all that it was sent. */
export const untilSidecar = async (layby: Layby, timeout = 10_000): Promise<void> => {
  const deadline = Date.now() + timeout;
  for (;;) {
    const { sidecars } = (await layby.status()) as { sidecars: { upToDate: boolean }[] };
    if (sidecars.length > 0 && sidecars.every(({ upToDate }) => upToDate)) return;
    if (Date.now() > deadline) throw new Error(`no sidecar after ${timeout} ms: ${JSON.stringify(sidecars)}`);
    await sleep(50);
  }
};
