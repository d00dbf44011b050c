// What the machine's clocks say: ms since it booted, and which boot that was, which nobody can set; and the wall clock, which
// jumps by years when the first network time arrives and is only for people.

import { readFileSync } from 'node:fs';

export interface BootClock {
  /** The kernel's boot id; '' where there is none, and then no two runs can be compared. */
  readonly bootId: string;
  /** CLOCK_MONOTONIC, ms: stands still while the machine is suspended. */
  uptime(): number;
  /** ms since the epoch. */
  wall(): number;
}

const readBootId = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return ''; // not Linux
  }
};

export const bootClock: BootClock = {
  bootId: readBootId(),
  uptime: () => Number(process.hrtime.bigint() / 1_000_000n),
  wall: () => Date.now(),
};
