// What the disk and LevelDB can do by themselves, on the same disk and in the same run. Every figure is one of data that is
// safe: fdatasync, or LevelDB's synced batches.

import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { answerQuestions } from './worker.ts';

export interface Limit {
  /** `fdatasync`: appends, each followed by one. `leveldb`: puts; all that wait share one synced batch (group commit). */
  kind: 'fdatasync' | 'leveldb';
  dir: string;
  /** Of each append or put. */
  bytes: number;
  /** Files written side by side, or puts that wait side by side. */
  atOnce: number;
  /** ms */
  duration: number;
}

export interface LimitResult {
  operations: number;
  seconds: number;
}

/** A file is started anew after this much, so that a long run does not fill the disk. */
const FILE_BYTES = 1024 * 1024 * 1024;

/** LevelDB's own option, which the universal interface of `level` does not have. */
const SYNCED: object = { sync: true };

/** Runs `one` in `atOnce` loops until the time is over. */
async function loops(limit: Limit, one: (n: number) => Promise<void>): Promise<LimitResult> {
  const began = performance.now();
  let operations = 0;
  await Promise.all(
    Array.from({ length: limit.atOnce }, async (_, n) => {
      while (performance.now() - began < limit.duration) {
        await one(n);
        operations += 1;
      }
    }),
  );
  return { operations, seconds: (performance.now() - began) / 1000 };
}

async function fdatasync(limit: Limit, dir: string): Promise<LimitResult> {
  const bytes = randomBytes(limit.bytes);
  const files: { handle: FileHandle; at: number }[] = [];
  for (let n = 0; n < limit.atOnce; n++) files.push({ handle: await open(join(dir, String(n)), 'w'), at: 0 });
  try {
    return await loops(limit, async (n) => {
      const file = files[n]!;
      await file.handle.write(bytes, 0, bytes.length, file.at);
      await file.handle.datasync();
      file.at += bytes.length;
      if (file.at < FILE_BYTES) return;
      await file.handle.truncate(0);
      file.at = 0;
    });
  } finally {
    for (const { handle } of files) await handle.close();
  }
}

/** The options of the store's generations; a large put gets the buffer with which LevelDB alone does best. */
async function leveldb(limit: Limit, dir: string): Promise<LimitResult> {
  const db = new Level<Buffer, Buffer>(dir, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
    writeBufferSize: (limit.bytes >= 1024 * 1024 ? 64 : 16) * 1024 * 1024,
    maxFileSize: 64 * 1024 * 1024,
  });
  await db.open();
  const value = randomBytes(limit.bytes);
  let counter = 0;
  let waiting: PromiseWithResolvers<void>[] = [];
  let writing = false;
  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      // Those who were just answered come back in this turn.
      await new Promise((resolve) => setImmediate(resolve));
      const batch = waiting;
      waiting = [];
      const puts = batch.map(() => {
        const key = Buffer.allocUnsafe(8);
        key.writeBigUInt64BE(BigInt(++counter));
        return { type: 'put' as const, key, value };
      });
      try {
        await db.batch(puts, SYNCED);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    writing = false;
  };
  try {
    return await loops(limit, () => {
      const put = Promise.withResolvers<void>();
      waiting.push(put);
      if (!writing) {
        writing = true;
        void write();
      }
      return put.promise;
    });
  } finally {
    await db.close();
  }
}

answerQuestions<Limit, LimitResult>(async (limit) => {
  const dir = await mkdtemp(join(limit.dir, 'limit-'));
  try {
    return await (limit.kind === 'fdatasync' ? fdatasync : leveldb)(limit, dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
