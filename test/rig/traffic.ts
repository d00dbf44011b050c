// What the vehicle's devices have carried, as the kernel counts it.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Road } from './namespaces.ts';
import { run } from './run.ts';

/** Bytes that a device of the vehicle (`lo`, or the road's) has sent. */
export const sentOn = async (road: Road, device: string): Promise<number> =>
  Number(await run(road.inVehicle(['cat', `/sys/class/net/${device}/statistics/tx_bytes`])));

/** Resolves when it has sent so many in all. Rejects after `timeout` ms. */
export const untilSent = async (
  road: Road,
  device: string,
  bytes: number,
  timeout = 30_000,
): Promise<void> => {
  const deadline = performance.now() + timeout;
  while ((await sentOn(road, device)) < bytes) {
    if (performance.now() > deadline) throw new Error(`${device} has not carried ${bytes} bytes`);
    await sleep(20); // The kernel is asked, it does not tell.
  }
};
