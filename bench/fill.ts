// Large bodies without the store: LevelDB alone, and plain files. Every figure is one of data that is safe when it counts: each batch
// synced, each write followed by fdatasync.

import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { writeBytes } from './watch.ts';
import { answerQuestions } from './worker.ts';

const MIB = 1024 * 1024;

export interface Fill {
  kind: 'leveldb' | 'files';
  dir: string;
  /** Of each body. */
  bytes: number;
  writers: number;
  /** Bytes, over all writers. */
  total: number;
  /** Written and synced in one go. */
  batch: number;
  /** LevelDB's own memory table, bytes; default 64 MiB, with which it does best. */
  buffer?: number;
}

export interface FillAnswer {
  bytes: number;
  seconds: number;
  amplification: number;
}

/** Of a value in LevelDB. */
const VALUE = 256 * 1024;
const SYNCED: object = { sync: true };

const random = randomBytes(16 * MIB);

/** Writes bodies batch by batch in `writers` loops. */
async function loops(fill: Fill, write: (writer: number, at: number) => Promise<void>): Promise<number> {
  const began = performance.now();
  let left = Math.floor(fill.total / fill.bytes);
  await Promise.all(
    Array.from({ length: fill.writers }, async (_, writer) => {
      for (; left > 0; ) {
        left -= 1;
        for (let at = 0; at < fill.bytes; at += fill.batch) await write(writer, at);
      }
    }),
  );
  return (performance.now() - began) / 1000;
}

/** Keys from one counter, as the store has them: any other order is far slower. */
async function leveldb(fill: Fill, dir: string): Promise<number> {
  const db = new Level<Buffer, Buffer>(dir, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
    writeBufferSize: fill.buffer ?? 64 * MIB,
    maxFileSize: 64 * MIB,
  });
  await db.open();
  let counter = 0;
  const key = (): Buffer => {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64BE(BigInt(++counter));
    return bytes;
  };
  try {
    return await loops(fill, async (_, at) => {
      const from = at % random.length;
      if (fill.batch <= MIB) return db.put(key(), random.subarray(from, from + fill.batch), SYNCED);
      const values = Array.from({ length: fill.batch / VALUE }, (_, i) =>
        random.subarray((from + i * VALUE) % random.length, ((from + i * VALUE) % random.length) + VALUE),
      );
      await db.batch(
        values.map((value) => ({ type: 'put' as const, key: key(), value })),
        SYNCED,
      );
    });
  } finally {
    await db.close();
  }
}

async function files(fill: Fill, dir: string): Promise<number> {
  const handles: FileHandle[] = [];
  for (let n = 0; n < fill.writers; n++) handles.push(await open(join(dir, String(n)), 'w'));
  try {
    return await loops(fill, async (writer, at) => {
      await handles[writer]!.write(random, at % random.length, fill.batch);
      await handles[writer]!.datasync();
    });
  } finally {
    for (const handle of handles) await handle.close();
  }
}

answerQuestions<Fill, FillAnswer>(async (fill) => {
  const dir = await mkdtemp(join(fill.dir, 'fill-'));
  const before = writeBytes();
  try {
    const seconds = await (fill.kind === 'leveldb' ? leveldb : files)(fill, dir);
    return { bytes: fill.total, seconds, amplification: (writeBytes() - before) / fill.total };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
