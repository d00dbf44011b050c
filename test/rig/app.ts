// The vehicle's apps: a real curl, and the load client of load.ts, both run inside the vehicle's namespace.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { endsWithTheRig } from './lifetime.ts';
import type { AppRecord, LoadPlan } from './load-plan.ts';
import type { Road } from './namespaces.ts';
import { sigkill } from './processes.ts';

export interface CurlOptions {
  /** Without one: where this process is. */
  road?: Road;
  /** Where to run it on a road; default `vehicle`. */
  end?: 'vehicle' | 'cloud';
  method?: string;
  /** `Name: value` each; `Name:` takes one of curl's own away. */
  headers?: readonly string[];
  /** A path is sent with its length, a stream chunked (curl's `-T -`), a buffer with its length. */
  body?: { file: string } | { stream: AsyncIterable<Uint8Array> } | Uint8Array | string;
  /** HOST:PORT of the outbound listener: every connection goes there, the URL stays what the app calls. */
  via?: string;
  /** HOST:PORT, as apps use it that speak to a proxy. */
  proxy?: string;
  /** Follow redirects. */
  follow?: boolean;
  /** Seconds. */
  maxTime?: number;
  connectTimeout?: number;
  /** More of curl's own, before the URL. */
  args?: readonly string[];
  /** Ends it early with SIGKILL. */
  signal?: AbortSignal;
}

export interface CurlAnswer {
  /** Of the last answer; 0 where there was none. */
  status: number;
  /** Of the last answer, lower-case names. */
  headers: Map<string, string>;
  /** Names and values as they came. */
  rawHeaders: [string, string][];
  body: Buffer;
  /** curl's: 0 fine, 7 no connection, 28 time is up, 52 empty answer, 56 receive failure. */
  exitCode: number;
  /** From start to end of the process. */
  ms: number;
  stderr: string;
}

const lastBlock = (text: string): { status: number; rawHeaders: [string, string][] } => {
  const blocks = text.split(/\r?\n\r?\n/).filter((block) => /^HTTP\//.test(block));
  const lines = (blocks.at(-1) ?? '').split(/\r?\n/);
  return {
    status: Number(lines[0]?.split(' ')[1] ?? 0),
    rawHeaders: lines.slice(1).map((line) => {
      const at = line.indexOf(':');
      return [line.slice(0, at), line.slice(at + 1).trim()];
    }),
  };
};

const bodyArgs = (body: CurlOptions['body'], method: string | undefined): string[] => {
  const verb = method === undefined ? [] : ['-X', method];
  if (body === undefined) return method === 'HEAD' ? ['-I'] : verb;
  if (typeof body === 'string' || body instanceof Uint8Array) return ['--data-binary', '@-', ...verb];
  return ['-T', 'file' in body ? body.file : '-', ...verb];
};

/** Runs the machine's curl. Never rejects for what curl reports itself: that is its exit code. */
export const curl = async (url: string, options: CurlOptions = {}): Promise<CurlAnswer> => {
  const { road, end = 'vehicle', body } = options;
  const directory = await mkdtemp(join(tmpdir(), 'layby-curl-'));
  const dump = join(directory, 'headers');
  const argv = [
    ...['curl', '-q', '-sS', '-D', dump, '--path-as-is'],
    ...(options.proxy ? ['--proxy', `http://${options.proxy}`] : ['--noproxy', '*']),
    ...(options.via ? ['--connect-to', `::${options.via}`] : []),
    ...(options.follow ? ['-L'] : []),
    ...(options.maxTime === undefined ? [] : ['--max-time', String(options.maxTime)]),
    ...(options.connectTimeout === undefined ? [] : ['--connect-timeout', String(options.connectTimeout)]),
    ...(options.headers ?? []).flatMap((header) => ['-H', header]),
    ...bodyArgs(body, options.method),
    ...(options.args ?? []),
    ...['--', url],
  ];
  const full = road ? (end === 'vehicle' ? road.inVehicle(argv) : road.inCloud(argv)) : argv;
  try {
    const started = performance.now();
    const child = spawn(full[0]!, full.slice(1));
    const end = () => sigkill(child.pid!);
    const forget = endsWithTheRig(end);
    options.signal?.addEventListener('abort', end, { once: true });
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (piece: Buffer) => out.push(piece));
    child.stderr.on('data', (piece: Buffer) => {
      stderr += piece;
    });
    // curl may be done before it read everything; how that ended is in its exit code.
    child.stdin.on('error', () => {});
    if (body && typeof body === 'object' && 'stream' in body)
      void pipeline(body.stream, child.stdin).catch(() => {});
    else child.stdin.end(typeof body === 'string' || body instanceof Uint8Array ? body : undefined);
    const [code] = (await once(child, 'close')) as [number | null];
    options.signal?.removeEventListener('abort', end);
    forget();
    const { status, rawHeaders } = lastBlock(await readFile(dump, 'latin1').catch(() => ''));
    return {
      ...{ status, rawHeaders, stderr, body: Buffer.concat(out) },
      headers: new Map(rawHeaders.map(([name, value]) => [name.toLowerCase(), value])),
      exitCode: code ?? -1,
      ms: performance.now() - started,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
};

/** What the load client wrote, one record a request. */
export const appRecordsIn = async (file: string): Promise<AppRecord[]> =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AppRecord);

/** Runs load.ts in the vehicle (or here, without a road) to its end. Requests that failed are in the records; rejects only
 *  when the client itself failed. `signal` ends the sending after the requests under way. */
export const load = async (
  plan: LoadPlan,
  options: { road?: Road; signal?: AbortSignal } = {},
): Promise<AppRecord[]> => {
  const script = fileURLToPath(new URL('load.ts', import.meta.url));
  const argv = [process.execPath, script, JSON.stringify(plan)];
  const full = options.road ? options.road.inVehicle(argv) : argv;
  const child = spawn(full[0]!, full.slice(1), { stdio: ['ignore', 'inherit', 'pipe'] });
  const forget = endsWithTheRig(() => sigkill(child.pid!));
  options.signal?.addEventListener('abort', () => child.kill('SIGTERM'));
  let stderr = '';
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  forget();
  if (code !== 0) throw new Error(`the load client ended with ${code}: ${stderr.trim()}`);
  return appRecordsIn(plan.out);
};
