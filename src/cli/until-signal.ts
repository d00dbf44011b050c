// A program that runs until it is told to end.

import { readFileSync } from 'node:fs';
import { messageOf } from '../telemetry/error.ts';

/** The terminal, npm and the launcher each pass one Ctrl-C on: what comes within this time is the same word, ms. */
const ECHO_MS = 1_000;
/** How soon it is noticed that npm has gone, ms. */
const ORPHAN_CHECK_MS = 200;
/** An end that takes longer hangs, ms. */
const LONGEST_END_MS = 5_000;

/** Resolves at the first SIGINT or SIGTERM, and under npm when npm is gone. Whoever asks again, later, does not want to wait: the process exits with 1. */
export const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    let told: number | undefined;
    const tell = () => {
      if (told === undefined) {
        told = performance.now();
        resolve();
      } else if (performance.now() - told > ECHO_MS) {
        process.exit(1);
      }
    };
    process.on('SIGINT', tell);
    process.on('SIGTERM', tell);
    if (process.env.npm_command || process.env.LAYBY_LAUNCHED) whenOrphaned(tell);
  });

/** npm and npx start a program through a shell. A signal to npm may end npm alone, or npm and the shell: nobody would stop what
 *  runs on. */
function whenOrphaned(tell: () => void): void {
  const npm = ancestors();
  const timer = setInterval(() => {
    if (ancestors() === npm) return;
    clearInterval(timer);
    tell();
  }, ORPHAN_CHECK_MS);
  timer.unref();
}

/** The parent and its parent, by pid; the parent alone where there is no /proc. */
function ancestors(): string {
  const parent = process.ppid;
  try {
    const stat = readFileSync(`/proc/${parent}/stat`, 'utf8');
    // pid (name) state ppid …; the name may have anything in it.
    return `${parent} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]}`;
  } catch {
    return String(parent);
  }
}

/** Ends in order, then exits with 0; an end that hangs is cut. */
export async function end(close: () => Promise<void>): Promise<never> {
  setTimeout(() => process.exit(1), LONGEST_END_MS).unref();
  try {
    await close();
  } catch (error) {
    console.error(`layby: ${messageOf(error)}`);
    process.exit(1);
  }
  process.exit(0);
}
