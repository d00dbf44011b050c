// The silent cut: packets leave and nobody gets them, no interface reports anything. A permanent neighbour entry with a MAC
// that no one has does it.

import { DEVICE, type Road } from '../namespaces.ts';
import { run } from '../run.ts';
import type { Fault } from './fault.ts';

/** Locally administered, owned by no device. */
const NOBODY = '02:00:00:00:00:01';

/** `out`: what the vehicle sends is lost; `in`: what the cloud sends. */
export const blackhole = (road: Road, direction: 'both' | 'out' | 'in' = 'both'): Fault => {
  const lost = [
    ...(direction === 'in' ? [] : [{ at: road.vehicle, to: road.cloud }]),
    ...(direction === 'out' ? [] : [{ at: road.cloud, to: road.vehicle }]),
  ];
  const neighbour = async (mac: (to: Road['cloud']) => string, state: string) => {
    for (const { at, to } of lost)
      await run([
        'ip',
        '-n',
        at.name,
        'neigh',
        'replace',
        to.address,
        'lladdr',
        mac(to),
        'dev',
        DEVICE,
        'nud',
        state,
      ]);
  };
  return {
    name: direction === 'both' ? 'blackhole' : `blackhole ${direction}`,
    inject: () => neighbour(() => NOBODY, 'permanent'),
    // The right MAC at once: a deleted entry would cost the first packets an ARP exchange.
    clear: () => neighbour((to) => to.mac, 'reachable'),
  };
};
