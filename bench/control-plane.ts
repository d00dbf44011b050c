// `npm run bench:control-plane`: what it takes until all sidecars have what is new, beside a server on go-control-plane that serves the
// same resources to the same clients. Both are processes of their own, as are the clients.
//   --clients N  --destinations N  --rounds N  --variants sotw,delta  --markdown FILE

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { TypeName } from '../src/control-plane/types.ts';
import { goProgram, noGo } from '../test/rig/go.ts';
import { cpuSeconds } from './cpu.ts';
import { machine } from './machine.ts';
import { Worker } from './worker.ts';
import type { ClientsQuestion, Collected, Variant } from './xds-clients.ts';
import type { ServerQuestion } from './xds-server.ts';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000' },
    destinations: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '5' },
    variants: { type: 'string', default: 'sotw,delta' },
    markdown: { type: 'string' },
  },
});
const clients = Number(values.clients);
const destinations = Number(values.destinations);
const rounds = Number(values.rounds);
const variants = values.variants.split(',') as Variant[];

/** go-control-plane's version, as bench/peers/go-control-plane/go.mod has it. */
const PEER_VERSION = '0.14.0';
const PEER = `go-control-plane ${PEER_VERSION}`;

const dir = await mkdtemp(join(tmpdir(), 'layby-bench-'));

interface Server {
  name: string;
  target: string;
  pid: number;
  /** Each makes ready what it can, and returns what is measured. */
  edit(edit: number): Promise<() => Promise<unknown>>;
  hold(held: boolean): Promise<() => Promise<unknown>>;
  stop(): Promise<void>;
}

/** What the peer serves is what Layby would. `maker`: a Layby that serves nobody. */
const maker = new Worker<ServerQuestion, number>('./xds-server.ts');
await maker.ask({ ask: 'start', destinations });

async function layby(): Promise<Server> {
  const worker = new Worker<ServerQuestion, number>('./xds-server.ts');
  const port = await worker.ask({ ask: 'start', destinations });
  return {
    name: 'layby',
    target: `127.0.0.1:${port}`,
    pid: await worker.ask({ ask: 'pid' }),
    edit: async (edit) => () => worker.ask({ ask: 'edit', edit }),
    hold: async (held) => () => worker.ask({ ask: 'hold', held }),
    stop: () => worker.stop(),
  };
}

async function goControlPlane(): Promise<Server> {
  const source = join(dir, 'source');
  await cp(fileURLToPath(new URL('./peers/go-control-plane', import.meta.url)), source, { recursive: true });
  const program = await goProgram(`go-control-plane-${PEER_VERSION}`, 'server', (into) => [
    ...['build', '-C', source, '-o', join(into, 'server'), '.'],
  ]);
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [port] = (await once(lines, 'line')) as [string];
  let dumps = 0;
  const served = async (change: ServerQuestion): Promise<() => Promise<unknown>> => {
    const at = join(dir, `resources-${++dumps}`);
    await maker.ask(change);
    await maker.ask({ ask: 'dump', dir: at });
    return async () => {
      const answered = once(lines, 'line');
      child.stdin.write(`serve ${at}\n`);
      await answered;
    };
  };
  await maker.ask({ ask: 'hold', held: false });
  const begin = await served({ ask: 'edit', edit: 0 });
  await begin();
  return {
    name: PEER,
    target: `127.0.0.1:${port}`,
    pid: child.pid!,
    edit: (edit) => served({ ask: 'edit', edit }),
    hold: (held) => served({ ask: 'hold', held }),
    stop: async () => {
      child.kill();
      await once(child, 'exit');
    },
  };
}

const anonymous = async (pid: number): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]) * 1024;
};

interface Figures {
  /** ms, from the change to the arrival at each client. */
  p50: number;
  p99: number;
  all: number;
  /** Of the server, for each client, µs. */
  cpu: number;
  /** To each client. */
  bytes: number;
}

/** The fields of Figures of each round. */
type Measured = Map<string, Figures[]>;

async function measureServer(server: Server, variant: Variant, measured: Measured): Promise<number> {
  const crowd = new Worker<ClientsQuestion, Collected | undefined>('./xds-clients.ts');
  const measure = async (what: string, types: TypeName[], change: () => Promise<unknown>): Promise<void> => {
    if (types.length > 0) await crowd.ask({ ask: 'arm', types });
    const before = { cpu: cpuSeconds(server.pid), at: performance.timeOrigin + performance.now() };
    await change();
    const collected = await crowd.ask({ ask: 'collect' });
    if (!collected) throw new Error('no figures');
    const took = collected.at.map((at) => at - before.at).sort((one, other) => one - other);
    const figures: Figures = {
      p50: took[Math.floor(took.length / 2)]!,
      p99: took[Math.floor(took.length * 0.99)]!,
      all: took.at(-1)!,
      cpu: ((cpuSeconds(server.pid) - before.cpu) * 1e6) / clients,
      bytes: collected.bytes / clients,
    };
    const key = `${what}|${variant}|${server.name}`;
    measured.set(key, [...(measured.get(key) ?? []), figures]);
  };
  const empty = await anonymous(server.pid);
  await measure('all connect', [], () =>
    crowd.ask({ ask: 'connect', target: server.target, variant, count: clients }),
  );
  const memory = (await anonymous(server.pid)) - empty;
  for (let round = 1; round <= rounds; round += 1) {
    await measure('one destination edited', ['cluster', 'route'], await server.edit(round));
    await measure('one hold', ['runtime'], await server.hold(round % 2 === 1));
  }
  await crowd.stop();
  return memory / clients;
}

const median = (figures: number[]): number =>
  figures.toSorted((one, other) => one - other)[Math.floor(figures.length / 2)]!;

const measured: Measured = new Map();
const memory = new Map<string, number>();
const servers = [layby, ...(noGo ? [] : [goControlPlane])];
if (noGo) console.error(`without ${PEER}: ${noGo}`);
for (const variant of variants)
  for (const start of servers) {
    const server = await start();
    memory.set(`${variant}|${server.name}`, await measureServer(server, variant, measured));
    await server.stop();
  }
await maker.stop();
await rm(dir, { recursive: true });

const rows = [
  [
    'what',
    'variant',
    'server',
    'p50, ms',
    'p99, ms',
    'all, ms',
    'CPU each, µs',
    'bytes to each',
    'memory each, KiB',
  ],
  ['---', '---', '---', '--:', '--:', '--:', '--:', '--:', '--:'],
  ...[...measured].map(([key, all]) => {
    const [what, variant, name] = key.split('|') as [string, string, string];
    const of = (field: keyof Figures, digits = 0) => median(all.map((each) => each[field])).toFixed(digits);
    const kib = what === 'all connect' ? (memory.get(`${variant}|${name}`)! / 1024).toFixed(0) : '';
    const shown = name === 'layby' ? `**${name}**` : name;
    return [what, variant, shown, of('p50', 1), of('p99', 1), of('all', 1), of('cpu'), of('bytes'), kib];
  }),
];
const table = rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
const about = `${clients} clients, ${destinations} destinations, median of ${rounds} rounds; ${await machine(undefined, {})}`;
console.log(`${about}\n\n${table}`);
if (values.markdown) {
  const begin = `<!-- bench: control-plane ${clients} -->`;
  const end = `<!-- /bench: control-plane ${clients} -->`;
  const page = await readFile(values.markdown, 'utf8');
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${values.markdown} has no place for it: ${begin}`);
  await writeFile(
    values.markdown,
    `${page.slice(0, from)}${begin}\n\n${about}.\n\n${table}\n\n${page.slice(to)}`,
  );
}
