// A fast client for many requests, a script: `node load.ts PLAN` (a LoadPlan as JSON). It writes one AppRecord a line, for
// the checker; it follows no redirect, since a receipt is an answer. SIGTERM ends it after the requests under way.

import { createHash, randomFillSync } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import { type AppRecord, type LoadPlan, NUMBER } from './load-plan.ts';
import { between, randomFrom } from './random.ts';

const plan = JSON.parse(process.argv[2] ?? '{}') as LoadPlan;
const {
  methods = [plan.method ?? 'PUT'],
  large,
  prefix = '/load',
  timeout = 120_000,
  from = 0,
  idempotent = true,
} = plan;
const host = plan.host ?? new URL(plan.target).host;

/** Bodies longer than this are not built in memory. */
const WHOLE = 1024 * 1024;
const PIECE = 64 * 1024;

/** Random once; every body is a walk over it from its own place, after its own number. */
const POOL = randomFillSync(Buffer.alloc(4 * WHOLE));

const pieces = function* (n: number, bytes: number, place: number): Generator<Buffer> {
  const stamp = Buffer.from(`${n}\n`).subarray(0, bytes);
  if (stamp.length > 0) yield stamp;
  for (let sent = stamp.length; sent < bytes; ) {
    const at = (place + sent) % (POOL.length - PIECE);
    const piece = POOL.subarray(at, at + Math.min(PIECE, bytes - sent));
    sent += piece.length;
    yield piece;
  }
};

const pool = new Pool(plan.target, {
  connections: plan.concurrency,
  pipelining: 1,
  headersTimeout: timeout,
  bodyTimeout: timeout,
  connect: { timeout },
});

const now = (): number => performance.timeOrigin + performance.now();
const wordsOf = (thrown: unknown): string => {
  const { code, message } = thrown as { code?: string; message?: string };
  return [code, message].filter(Boolean).join(': ') || String(thrown);
};

const send = async ({ n, key, method, bytes, place }: Job): Promise<AppRecord> => {
  const path = `${prefix}/${key}`;
  const headers = [
    ...['host', host, NUMBER, String(n)],
    ...(idempotent ? ['idempotency-key', `rig-${n}`] : []),
    ...Object.entries(plan.headers ?? {}).flat(),
  ];
  const whole = bytes <= WHOLE ? Buffer.concat([...pieces(n, bytes, place)]) : undefined;
  const hash = createHash('sha256');
  for (const piece of whole ? [whole] : pieces(n, bytes, place)) hash.update(piece);
  const record: AppRecord = {
    ...{ n, key, method, path, headers, trailers: [], bytes, sha256: hash.digest('hex') },
    ...{ status: 0, entryId: null, start: now(), end: 0, error: null },
  };
  // No body at all, so nothing to frame.
  const none = bytes === 0 && method === 'DELETE';
  const framing = plan.chunked || whole ? [] : ['content-length', String(bytes)];
  try {
    const answer = await pool.request({
      ...{ path, method: method as Dispatcher.HttpMethod, headers: [...headers, ...framing] },
      body: none ? null : whole && !plan.chunked ? whole : Readable.from(pieces(n, bytes, place)),
      signal: AbortSignal.timeout(timeout),
    });
    record.status = answer.statusCode;
    const id = answer.headers['layby-entry'];
    record.entryId = typeof id === 'string' ? id : null;
    await answer.body.dump({ limit: Number.MAX_SAFE_INTEGER });
  } catch (error) {
    record.error = wordsOf(error);
  }
  record.end = now();
  return record;
};

interface Job {
  n: number;
  key: string;
  method: string;
  bytes: number;
  place: number;
}

let stopping = false;
process.once('SIGTERM', () => {
  stopping = true;
});

writeFileSync(plan.out, '');
const random = randomFrom(plan.seed);
/** Draws only for what the plan asks for, so that the seeds of other plans keep their meaning. */
const shapeOf = (): { method: string; bytes: number } => {
  const method = methods.length > 1 ? methods[between(random, [0, methods.length - 1])]! : methods[0]!;
  const long = large && random() < large.share;
  const bytes = between(random, long ? large.bytes : plan.bytes);
  return { method, bytes: method === 'DELETE' && methods.length > 1 ? 0 : bytes };
};
const jobs = Array.from({ length: plan.requests }, (_, index) => ({
  n: from + index + 1,
  key: `k${index % plan.keys}`,
  ...shapeOf(),
  place: Math.floor(random() * WHOLE),
}));
// A key's requests wait for one another, so that their order is known; a worker takes the next one whose key is free.
const busy = new Set<string>();
const waiting = new Set(jobs);
const next = (): Job | undefined => {
  for (const job of waiting) if (!busy.has(job.key)) return job;
  return undefined;
};
const worker = async (): Promise<void> => {
  for (let job = next(); job && !stopping; job = next()) {
    waiting.delete(job);
    busy.add(job.key);
    const record = await send(job);
    busy.delete(job.key);
    appendFileSync(plan.out, `${JSON.stringify(record)}\n`);
    if (plan.pause) await new Promise((resolve) => setTimeout(resolve, plan.pause));
  }
};
// More workers than keys would find every key busy and end.
await Promise.all(Array.from({ length: Math.min(plan.concurrency, plan.keys) }, worker));
await pool.close();
