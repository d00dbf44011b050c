// A clock that nobody can set: ms since the machine booted, and which boot that was. A vehicle's wall clock jumps when the
// first network time arrives; a time to live must not.

import { readFileSync } from 'node:fs';

const readBootId = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return ''; // not Linux: no two commits can be compared over a restart
  }
};

export const bootId = readBootId();

/** CLOCK_MONOTONIC, ms. */
export const uptime = (): number => Number(process.hrtime.bigint() / 1_000_000n);
