// Logs by pino: one line per event in the life of an entry, never a body, never a credential.

import pino from 'pino';

export type Logger = pino.Logger;

/** Lines are written together: one by one they take a fifth of the time of a small receipt, and a reader that is slow would
 *  stop the program. What a kill -9 takes of them is in the store's audit trail. */
const BATCH_BYTES = 8 * 1024;
const BATCH_MS = 100;

/** A logger for one part of Layby; `LAYBY_LOG` sets the level (default `info`). Lines go to `fd` (default 2: stdout is for results). */
export const logger = (part: string, fd = 2): Logger =>
  pino(
    {
      base: { part },
      level: process.env.LAYBY_LOG ?? 'info',
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: ['headers', 'authorization', '*.authorization'], remove: true },
    },
    pino.destination({ dest: fd, sync: false, minLength: BATCH_BYTES, periodicFlush: BATCH_MS }),
  );
