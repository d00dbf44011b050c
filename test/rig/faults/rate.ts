// A narrow link: a token bucket (tbf) on both ends. Delay and loss are not to be had here, this kernel has no netem.

import { DEVICE, type Road } from '../namespaces.ts';
import { run } from '../run.ts';
import type { Fault } from './fault.ts';

export interface RateOptions {
  /** Vehicle to cloud, Mbit/s. */
  up: number;
  /** Cloud to vehicle, Mbit/s; as `up` where not given. */
  down?: number;
  /** Longest time a packet waits before it is dropped, ms. */
  latency?: number;
}

export const rate = (road: Road, options: RateOptions): Fault => {
  const { up, down = up, latency = 400 } = options;
  let injected = false;
  const shape = (namespace: string, mbit: number) => {
    // A bucket smaller than one timer tick's worth of bytes (HZ 250 at worst) would never reach the rate.
    const burst = Math.max(16 * 1024, Math.ceil((mbit * 125_000) / 250));
    return run([
      ...['tc', '-n', namespace, 'qdisc', 'replace', 'dev', DEVICE, 'root', 'tbf'],
      ...['rate', `${mbit}mbit`, 'burst', `${burst}`, 'latency', `${latency}ms`],
    ]);
  };
  return {
    name: `rate ${up}/${down} Mbit/s`,
    inject: async () => {
      injected = true;
      await shape(road.vehicle.name, up);
      await shape(road.cloud.name, down);
    },
    clear: async () => {
      if (!injected) return;
      injected = false;
      for (const { name } of [road.vehicle, road.cloud])
        await run(['tc', '-n', name, 'qdisc', 'del', 'dev', DEVICE, 'root']);
    },
  };
};
