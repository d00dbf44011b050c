// Law 8 over time: small, large and chunked PUTs for twenty minutes while the link flaps, and once a minute what each process of the
// mesh takes. It says whether that grows with the requests. Exits with 1 where it does.

import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Pool } from 'undici';
import { findEnvoy } from '../src/parts/envoy.ts';
import { formatAddress } from '../src/wire/address.ts';
import { listen, poolTo } from '../src/wire/http.ts';
import { type Flap, flap } from '../test/rig/faults/flap.ts';
import { familyOf, MARK, rssAnon } from '../test/rig/processes.ts';
import { between, randomFrom } from '../test/rig/random.ts';
import { HOST, type Mesh, startLayby } from './mesh.ts';
import { Scratch } from './scratch.ts';
import { MINUTE_HEADER, type Minute, minuteRow, type PartMemory, verdictOf } from './soak-report.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    pause: { type: 'string', default: '50' },
    up: { type: 'string', default: '20000' },
    fill: { type: 'string', default: '50000' },
    dir: { type: 'string' },
  },
});
const minutes = Math.max(3, Number.parseInt(values.minutes, 10));
const seed = Number(values.seed);
/** Each app rests so long after an answer, ms: so that the machine is not what limits. */
const pause = Number(values.pause);

const APPS = 16;
const KEYS = 500;
/** Small requests before the first minute: they fill LevelDB's tables in memory, which have their bound and would look like growth. */
const fill = Number(values.fill);
const FILL_AT_ONCE = 64;

const SAMPLE_MS = 1_000;
/** The longest time with a link, ms. Where it is 4,000 nearly all is stored, since the link counts as flapping; with 20,000 half of it. */
const UP = [300, Math.max(300, Number(values.up))] as const;
const DOWN = [200, 2_500] as const;

const PARTS = ['queue', 'control-plane', 'envoy'] as const;

/** The destination: its connections end when the link is cut, and nobody answers until it is back. */
async function startDestination() {
  const server = createServer(async (request, response) => {
    try {
      for await (const _ of request);
      delivered += 1;
      response.end();
    } catch {
      // Cut.
    }
  });
  let delivered = 0;
  let cut = false;
  server.prependListener('connection', (socket) => {
    if (cut) socket.destroy();
  });
  const address = await listen(server, { host: '127.0.0.1', port: 0 });
  return {
    url: `http://${formatAddress(address)}`,
    get delivered() {
      return delivered;
    },
    cut: async (): Promise<void> => {
      cut = true;
      server.closeAllConnections();
    },
    heal: async (): Promise<void> => {
      cut = false;
    },
    stop: async (): Promise<void> => {
      server.closeAllConnections();
      server.close();
    },
  };
}

interface Counts {
  requests: number;
  stored: number;
  wrong: string[];
}

const BODY = Buffer.alloc(3_000_000, 7);

/** One app: a request after the other until it is told to end. */
async function app(to: Pool, random: () => number, counts: Counts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const kind = random();
    const large = kind < 0.03;
    const chunked = kind > 0.85;
    const body = BODY.subarray(
      0,
      between(random, large ? [1_100_000, 3_000_000] : chunked ? [0, 200_000] : [0, 20_000]),
    );
    const half = body.length >> 1;
    try {
      const answer = await to.request({
        method: 'PUT',
        path: `/k${between(random, [0, KEYS - 1])}`,
        headers: { host: HOST },
        body: chunked ? Readable.from([body.subarray(0, half), body.subarray(half)]) : body,
      });
      await answer.body.dump();
      counts.requests += 1;
      if (answer.headers['layby-entry'] !== undefined) counts.stored += 1;
      else if (answer.statusCode !== 200) counts.wrong.push(`${answer.statusCode}`);
    } catch (error) {
      counts.wrong.push(String(error));
    }
    await sleep(pause);
  }
}

const scratch = await Scratch.make(values.dir);
const mark = randomUUID();
const memoryDir = join(scratch.dir, 'memory');
mkdirSync(memoryDir);
process.env[MARK] = mark;
process.env.LAYBY_SOAK_DIR = memoryDir;
process.env.NODE_OPTIONS = `--import ${fileURLToPath(new URL('soak-memory.ts', import.meta.url))}`;
const envoy = await findEnvoy({ onFetch: (name) => console.error(`fetching ${name} (once)`) });
const destination = scratch.keep(await startDestination());
const layby: Mesh = scratch.keep(await startLayby(scratch.dir, envoy, { upstream: destination.url }));
delete process.env[MARK];
delete process.env.NODE_OPTIONS;
const pids = new Map(familyOf(mark)().map(({ name, pid }) => [name, pid]));

const sample = (part: string): PartMemory => {
  const pid = pids.get(part)!;
  const memory: PartMemory = { rssAnon: rssAnon(pid) };
  try {
    Object.assign(memory, JSON.parse(readFileSync(join(memoryDir, `${pid}.json`), 'utf8')));
  } catch {
    // Envoy has no heap of JavaScript; and a file may be half written.
  }
  return memory;
};

/** The lowest of a minute: what stays when garbage is gone. */
const lowest = (a: PartMemory | undefined, b: PartMemory): PartMemory => {
  const least = { ...a, ...b };
  for (const field of ['rssAnon', 'heapTotal', 'heapUsed', 'external', 'arrayBuffers'] as const) {
    const values = [a?.[field], b[field]].filter((value) => value !== undefined);
    if (values.length > 0) least[field] = Math.min(...values);
  }
  return least;
};

const counts: Counts = { requests: 0, stored: 0, wrong: [] };

/** Measures for a minute. */
async function minute(number: number): Promise<Minute> {
  const parts: Record<string, PartMemory> = {};
  for (const until = performance.now() + 60_000; performance.now() < until; await sleep(SAMPLE_MS))
    for (const part of PARTS) parts[part] = lowest(parts[part], sample(part));
  return { minute: number, ...counts, waiting: await waiting(), parts };
}

const admin = poolTo(layby.admin);
async function setLink(state: 'down' | 'auto'): Promise<void> {
  const body = JSON.stringify({ state });
  await (
    await admin.request({
      method: 'POST',
      path: '/v1/link',
      headers: { 'content-type': 'application/json' },
      body,
    })
  ).body.dump();
}

async function waiting(): Promise<number> {
  const { body } = await admin.request({ method: 'GET', path: '/v1/status' });
  const { destinations } = (await body.json()) as { destinations: { entries: number }[] };
  return destinations.reduce((sum, { entries }) => sum + entries, 0);
}

/** Stores `fill` small requests without a link, and delivers them. */
async function warmUp(outbound: Pool): Promise<void> {
  await setLink('down');
  let left = fill;
  const store = async (): Promise<void> => {
    while (left-- > 0) {
      const path = `/k${left % KEYS}`;
      const body = BODY.subarray(0, 1_000);
      const answer = await outbound.request({ method: 'PUT', path, headers: { host: HOST }, body });
      await answer.body.dump();
    }
  };
  await Promise.all(Array.from({ length: FILL_AT_ONCE }, store));
  await setLink('auto');
  while ((await waiting()) > 0) await sleep(200);
}

async function run(): Promise<void> {
  const outbound = new Pool(`http://${formatAddress(layby.outbound)}`, { connections: FILL_AT_ONCE });
  await warmUp(outbound);
  console.log(`${minutes} minutes, ${APPS} apps, seed ${seed}\n\n${MINUTE_HEADER}`);
  const random = randomFrom(seed);
  let told = false;
  // Half of the cuts are said, half are found out.
  const fault = {
    name: 'either cut',
    inject: async () => {
      told = random() < 0.5;
      await (told ? setLink('down') : destination.cut());
    },
    clear: async () => {
      await destination.heal();
      if (told) await setLink('auto');
    },
  };
  const flapping: Flap = flap(fault, { seed, up: UP, down: DOWN });
  await flapping.inject();
  const end = new AbortController();
  const apps = Array.from({ length: APPS }, (_, at) =>
    app(outbound, randomFrom(seed + at + 1), counts, end.signal),
  );
  const rows: Minute[] = [];
  for (let number = 1; number <= minutes; number++) {
    const row = await Promise.race([minute(number), layby.lost]);
    if (!row) throw new Error('layby ended');
    rows.push(row);
    console.log(minuteRow(row));
  }
  end.abort();
  await Promise.all(apps);
  await flapping.clear();
  while ((await waiting()) > 0) await sleep(200);
  const idle = await minute(minutes + 1);
  console.log(`${minuteRow(idle)} (drained and idle)\n`);
  console.log(`${flapping.cuts} cuts, ${destination.delivered} requests at the destination`);
  for (const wrong of counts.wrong.slice(0, 10)) console.log(`not answered: ${wrong}`);
  const verdicts = PARTS.map((part) => verdictOf(part, rows));
  for (const { words } of verdicts) console.log(words);
  if (counts.wrong.length > 0 || verdicts.some(({ flat }) => !flat)) process.exitCode = 1;
  await outbound.close();
  await admin.close();
}

try {
  await run();
} finally {
  await scratch.stop();
}
process.exit();
