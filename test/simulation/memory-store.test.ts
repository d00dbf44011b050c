// The suite that every store must pass, on the memory store: with a disk that answers at once, and in a simulation.

import t from 'tap';
import { bodies } from '../../src/store/conformance/bodies.ts';
import { fates } from '../../src/store/conformance/fates.ts';
import { lookups } from '../../src/store/conformance/lookups.ts';
import { staged } from '../../src/store/conformance/staged.ts';
import { conformance, type OpenStore } from '../../src/store/conformance.ts';
import { MemoryStore, type MemoryStoreOptions } from './memory-store.ts';
import { Simulation } from './scheduler.ts';

/** Stores by their directory: what is closed is opened again. */
const opener = (options: MemoryStoreOptions): OpenStore => {
  const stores = new Map<string, MemoryStore>();
  return async (dir, isInFlight) => {
    const store = new MemoryStore({ ...options, ...(isInFlight && { isInFlight }) }, stores.get(dir)?.disk);
    stores.set(dir, store);
    return store;
  };
};

/** One scenario looks around while a change is on its way to the disk, and must be done before it is there. */
const timesOf = (label: string): [minMs: number, maxMs: number] => (label === 'flush' ? [30, 50] : [0.05, 5]);

t.test('the memory store keeps the contract', (test) => conformance(test, opener({ disk: async () => {} })));

t.test('and keeps it where each operation of the disk takes a random time', async (t) => {
  for (const [name, run] of Object.entries({ ...bodies, ...fates, ...lookups, ...staged }))
    await t.test(name, async (test) => {
      const simulation = new Simulation({ seed: 1 });
      simulation.install();
      try {
        let done = false;
        const open = opener({ disk: (label) => simulation.delay(label, ...timesOf(label)) });
        void run(test, open, 'store').then(() => {
          done = true;
        });
        await simulation.run(() => done);
      } finally {
        simulation.uninstall();
      }
    });
});
