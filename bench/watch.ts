// What a process costs while it runs: memory, stalls of its event loop, bytes handed to the disk. Read in the process itself,
// from /proc.

import { readFileSync } from 'node:fs';

/** Disk and memory are looked at this often, ms. */
const LOOK = 100;
/** The event loop, ms. */
const TURN = 5;

export interface Peaks {
  /** Bytes on the disk over the live bytes of that moment. */
  diskToLive: number;
  /** Anonymous memory, MB. */
  rssAnon: number;
  /** Turn of the event loop, ms. */
  stall: number;
  /** The same without the time in which the thread was ready and another process had the core. */
  ownStall: number;
}

const proc = (file: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/self/${file}`, 'utf8'))?.[1] ?? 0);

/** So far. */
export const writeBytes = (): number => proc('io', 'write_bytes');

/** Of the main thread, ms: the second figure of schedstat, which some kernels do not have. */
const waitedForCore = (): number => {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
};

/** Looks until `stop`; `peaks` so far. */
export function watch(disk: () => Promise<number>, live: () => number) {
  const peaks: Peaks = { diskToLive: 0, rssAnon: 0, stall: 0, ownStall: 0 };
  let looking = Promise.resolve();
  const timer = setInterval(() => {
    looking = disk().then((bytes) => {
      if (live() > 0) peaks.diskToLive = Math.max(peaks.diskToLive, bytes / live());
      peaks.rssAnon = Math.max(peaks.rssAnon, (proc('status', 'RssAnon') * 1024) / 1e6);
    });
  }, LOOK);
  let last = performance.now();
  let waited = waitedForCore();
  const turns = setInterval(() => {
    const [now, waits] = [performance.now(), waitedForCore()];
    const late = now - last - TURN;
    peaks.stall = Math.max(peaks.stall, late);
    peaks.ownStall = Math.max(peaks.ownStall, late - (waits - waited));
    [last, waited] = [now, waits];
  }, TURN);
  return {
    peaks,
    stop: async () => {
      clearInterval(timer);
      clearInterval(turns);
      await looking;
    },
  };
}
