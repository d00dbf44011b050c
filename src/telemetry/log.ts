// Logs by pino: one line per event in the life of an entry, never a body, never a credential: what stands in URLs is hidden as well.

import { writeSync } from 'node:fs';
import pino from 'pino';
import { withoutSecrets } from './secrets.ts';

export type Logger = pino.Logger;

/** Lines are written together: one by one they take a fifth of the time of a small receipt, and a reader that is slow would
 *  stop the program. What a kill -9 takes of them is in the store's audit trail. */
const BATCH_BYTES = 8 * 1024;
const BATCH_MS = 100;

/** A logger for one part of Layby; `LAYBY_LOG` sets the level (default `info`). Lines go to `fd` (default 2: stdout is for results). */
export const logger = (part: string, fd = 2): Logger => {
  const lines = pino.destination({
    dest: fd,
    sync: false,
    minLength: BATCH_BYTES,
    periodicFlush: BATCH_MS,
  });
  // The last line of a program that ends by an error is written before it ends.
  const output: pino.DestinationStream & { flushSync(): void } = {
    write: (line) => void lines.write(withoutSecrets(line)),
    flushSync: () => lines.flushSync(),
  };
  return pino(
    {
      base: { part },
      level: process.env.LAYBY_LOG ?? 'info',
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: ['headers', 'authorization', '*.authorization'], remove: true },
    },
    output,
  );
};

/** Takes lines that are a log already. Where nobody takes them any more (a terminal or a pipe that has gone, a full disk) they are lost, and the
 *  program goes on. */
export const lineWriter =
  (fd: number) =>
  (lines: Buffer): void => {
    try {
      for (let at = 0; at < lines.length; ) at += writeSync(fd, lines, at);
    } catch {}
  };
