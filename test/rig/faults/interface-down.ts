// The loud cut: the kernel knows it, takes the routes away and says so over netlink.

import { DEVICE, type Road } from '../namespaces.ts';
import { run } from '../run.ts';
import type { Fault } from './fault.ts';

/** At the vehicle's end the routes go and connecting fails at once; at the cloud's end the vehicle loses its carrier and
 *  keeps its routes. */
export const interfaceDown = (road: Road, end: 'vehicle' | 'cloud' = 'vehicle'): Fault => {
  const set = (state: 'up' | 'down') => run(['ip', '-n', road[end].name, 'link', 'set', DEVICE, state]);
  return {
    name: end === 'vehicle' ? 'interface-down' : 'carrier-lost',
    inject: async () => {
      await set('down');
    },
    clear: async () => {
      await set('up');
      await road.readdRoutes();
    },
  };
};
