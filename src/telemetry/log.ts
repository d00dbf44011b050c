// Logs by pino: one line per event in the life of an entry, never a body, never a credential.

import pino from 'pino';

export type Logger = pino.Logger;

/** A logger for one part of Layby; `LAYBY_LOG` sets the level (default `info`). Lines go to `fd` (default 2: stdout is for results). */
export const logger = (part: string, fd = 2): Logger =>
  pino(
    {
      base: { part },
      level: process.env.LAYBY_LOG ?? 'info',
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: ['headers', 'authorization', '*.authorization'], remove: true },
    },
    pino.destination({ dest: fd, sync: true }),
  );
