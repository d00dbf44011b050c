// A program that runs until it is told to end.

import { messageOf } from '../telemetry/error.ts';

/** Resolves at the first SIGINT or SIGTERM. */
export const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });

/** Ends in order, then exits with 0; a second signal, or an end that hangs, does not wait. */
export async function end(close: () => Promise<void>): Promise<never> {
  const now = () => process.exit(1);
  process.once('SIGINT', now);
  process.once('SIGTERM', now);
  setTimeout(now, 5_000).unref();
  try {
    await close();
  } catch (error) {
    console.error(`layby: ${messageOf(error)}`);
    process.exit(1);
  }
  process.exit(0);
}
