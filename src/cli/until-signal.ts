// A program that runs until it is told to end, and says in its log why it ends.

import { isatty } from 'node:tty';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { areThere, endsWith } from './started-by.ts';

/** The terminal, npm and the launcher each pass one Ctrl-C on: what comes within this time is the same word, ms. */
const ECHO_MS = 1_000;
/** How soon it is noticed that npm has gone, ms. */
const ORPHAN_CHECK_MS = 200;
/** An end that takes longer hangs, ms. */
const LONGEST_END_MS = 5_000;

/** Resolves with the reason at the first SIGINT or SIGTERM, at a SIGHUP on a terminal, and when npm or the launcher has gone that started this
 *  process. A second signal, later, is from somebody who does not want to wait: the process exits with 1. */
export const untilSignal = (log: Logger): Promise<string> =>
  new Promise((resolve) => {
    let told: number | undefined;
    const tell = (reason: string): void => {
      if (told === undefined) {
        told = performance.now();
        log.info({ reason }, 'ending');
        resolve(reason);
      } else if (performance.now() - told > ECHO_MS) {
        log.warn({ reason }, 'ended before everything was closed');
        process.exit(1);
      }
    };
    const stopWatching = whenOrphaned(() => tell('what started it has gone (npm, or the launcher)'));
    // Asked now: once a terminal has hung up it is none any more.
    const onTerminal = [0, 1, 2].some((fd) => isatty(fd));
    process.on('SIGINT', tell);
    process.on('SIGTERM', tell);
    process.on('SIGHUP', () => {
      if (onTerminal) return tell('SIGHUP: the terminal has gone');
      // Node takes away the protection that nohup gives. Without a terminal it is in the background, and outlives the one that it came from.
      stopWatching();
      log.info('SIGHUP: going on without a terminal');
    });
    // A terminal or pipe that has gone takes no more output.
    for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
    process.on('uncaughtException', (err) => {
      log.fatal({ err }, 'ended by an error');
      console.error(`layby: unexpected error: ${messageOf(err)}`);
      process.exit(1);
    });
  });

function whenOrphaned(tell: () => void): () => void {
  const pids = endsWith(process.env);
  if (pids.length === 0) return () => undefined;
  const timer = setInterval(() => {
    if (areThere(pids)) return;
    clearInterval(timer);
    tell();
  }, ORPHAN_CHECK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Ends in order, then exits with 0; an end that hangs is cut. */
export async function end(log: Logger, close: () => Promise<void>): Promise<never> {
  setTimeout(() => {
    log.error({ ms: LONGEST_END_MS }, 'ended before everything was closed: it took too long');
    process.exit(1);
  }, LONGEST_END_MS).unref();
  try {
    await close();
  } catch (err) {
    log.error({ err }, 'ended with an error');
    console.error(`layby: ${messageOf(err)}`);
    process.exit(1);
  }
  log.info('ended');
  process.exit(0);
}
