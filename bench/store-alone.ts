// The store in a process of its own, without HTTP: bodies and small entries stored as fast as it takes them, a queue that is filled at
// one end and drained at the other, and the disk that it gives back.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { entryId } from '../src/queue/entry-id.ts';
import { openStore } from '../src/store/leveldb/open.ts';
import type { Entry, Store } from '../src/store/store.ts';
import { type Peaks, watch, writeBytes } from './watch.ts';
import { answerQuestions } from './worker.ts';

const MIB = 1024 * 1024;
/** What node:http hands over at a time. */
const PIECE = 64 * 1024;
/** The disk is looked at this often while it is given back, ms. */
const LOOK = 10;

export type StoreQuestion = { dir: string } & (
  | { kind: 'bodies'; bytes: number; writers: number; total: number }
  | { kind: 'entries'; bytes: number; waiting: number; duration: number }
  /** One old dead letter; beside it each round stores one body of `bytes` and delivers the oldest, until `total` bytes went through,
   *  at `rate` bytes per second at most. */
  | { kind: 'steady'; bytes: number; backlog: number; total: number; rate?: number }
  /** Stores `total` bytes, delivers all of them, and waits until less than `floor` is on the disk. */
  | { kind: 'drain'; bytes: number; total: number; floor: number }
);

export interface StoreAnswer extends Peaks {
  entries: number;
  /** Of bodies. */
  bytes: number;
  seconds: number;
  /** Handed to the disk, by /proc/self/io, over the bytes of the bodies. */
  amplification: number;
  /** Of user and system time, per second of the measurement. */
  cpu: number;
}

/** Random, or a file system that compresses would flatter everyone. */
const random = randomBytes(16 * MIB);

const headOf = (id: string) => ({
  id,
  destination: 'bench',
  method: 'PUT',
  url: `http://bench.example/2026/clip-${id}.mp4`,
  headers: ['Host', 'bench.example', 'Content-Type', 'video/mp4', 'User-Agent', 'layby-bench'],
  orderKey: `bench.example/2026/clip-${id}.mp4`,
  class: 0,
  receivedAt: Date.now(),
});

async function put(store: Store, bytes: number): Promise<Entry> {
  const writer = await store.begin(headOf(entryId()), bytes);
  for (let at = 0; at < bytes; ) {
    const from = at % random.length;
    const piece = random.subarray(from, Math.min(from + PIECE, from + bytes - at, random.length));
    at += piece.length;
    const full = writer.write(piece);
    if (full) await full;
    // As from a socket: other work has its turn between two pieces.
    if (at % (16 * PIECE) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return writer.commit();
}

async function deliver(store: Store, entry: Entry): Promise<void> {
  const hash = createHash('sha256');
  for await (const piece of store.read(entry)) hash.update(piece);
  if (hash.digest('hex') !== entry.sha256) throw new Error(`entry ${entry.id} came back otherwise`);
  await store.delivered(entry.id, '200');
}

async function loops(count: number, more: () => boolean, one: () => Promise<void>): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (more()) await one();
    }),
  );
}

async function run(
  store: Store,
  question: StoreQuestion,
): Promise<{ entries: number; seconds: number; watched?: object }> {
  const { kind, bytes } = question;
  const seconds = (since: number): number => (performance.now() - since) / 1000;
  let entries = 0;
  const one = async (): Promise<void> => {
    entries += 1;
    await put(store, bytes);
  };
  if (kind === 'entries') {
    const began = performance.now();
    await loops(question.waiting, () => performance.now() - began < question.duration, one);
    return { entries, seconds: seconds(began) };
  }
  if (kind === 'bodies') {
    let left = question.total;
    const began = performance.now();
    const more = () => {
      left -= bytes;
      return left >= 0;
    };
    await loops(question.writers, more, one);
    return { entries, seconds: seconds(began) };
  }
  const queue: Entry[] = [];
  const before = kind === 'steady' ? question.backlog : question.total;
  while (queue.length * bytes < before) queue.push(await put(store, bytes));
  if (kind === 'drain') {
    const began = performance.now();
    for (const entry of queue) await deliver(store, entry);
    while ((await store.physicalBytes()) > question.floor) {
      if (seconds(began) > 60) throw new Error('the disk was not given back in 60 s');
      await new Promise((again) => setTimeout(again, LOOK));
    }
    return { entries: queue.length, seconds: seconds(began) };
  }
  return steady(store, question, queue);
}

/** Once a minute, for whoever reads along. */
const REPORT = 60_000;

async function steady(
  store: Store,
  { bytes, total, rate = Number.POSITIVE_INFINITY }: Extract<StoreQuestion, { kind: 'steady' }>,
  queue: Entry[],
): Promise<{ entries: number; seconds: number; watched: object; from: number }> {
  await store.dead(queue.shift()!.id, '403');
  let live = queue.length + 1;
  const from = writeBytes();
  const { peaks, stop } = watch(
    () => store.physicalBytes(),
    () => live * bytes,
  );
  const began = performance.now();
  let entries = 0;
  const reporting = setInterval(() => {
    const written = ((writeBytes() - from) / (entries * bytes)).toFixed(2);
    const peak = Object.entries(peaks).map(([name, value]) => `${name} ${value.toFixed(2)}`);
    console.error(
      `${Math.round((performance.now() - began) / 60_000)} min, ${Math.round((entries * bytes) / 1e6)} MB through: written ${written} times, ${peak.join(', ')}`,
    );
  }, REPORT);
  for (; entries * bytes < total; entries++) {
    const stored = put(store, bytes);
    await deliver(store, queue.shift()!);
    live -= 1;
    queue.push(await stored);
    live += 1;
    const early = (((entries + 1) * bytes) / rate) * 1000 - (performance.now() - began);
    if (early > 0) await new Promise((due) => setTimeout(due, early));
  }
  const seconds = (performance.now() - began) / 1000;
  clearInterval(reporting);
  await stop();
  return { entries, seconds, watched: peaks, from };
}

answerQuestions<StoreQuestion, StoreAnswer>(async (question) => {
  const dir = await mkdtemp(join(question.dir, 'store-'));
  const store = await openStore(dir);
  const before = { io: writeBytes(), cpu: process.cpuUsage() };
  try {
    const {
      entries,
      seconds,
      watched,
      from = before.io,
    } = (await run(store, question)) as Awaited<ReturnType<typeof steady>>;
    const { user, system } = process.cpuUsage(before.cpu);
    await store.close();
    const bytes = entries * question.bytes;
    return {
      ...{ diskToLive: 0, rssAnon: 0, stall: 0, ownStall: 0 },
      ...{ entries, bytes, seconds, amplification: (writeBytes() - from) / bytes },
      cpu: (user + system) / 1e6 / seconds,
      ...watched,
    };
  } finally {
    await store.close();
    await rm(dir, { recursive: true, force: true });
  }
});
