// A destination that takes some requests and is silent for long: replay, a store and the network in virtual time.

import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { DeliveryLedgers } from '../../src/replay/delivery-ledgers.ts';
import { Replay } from '../../src/replay/replay.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { MemoryStore } from './memory-store.ts';
import { SimulatedNetwork, UP } from './network.ts';
import { Simulation } from './scheduler.ts';
import { forcedEntries, NO_BUDGET, noLog } from './vehicle.ts';

const SILENT = 8;
const ENTRIES = 40;

/** When the last entry was delivered to which the destination answers at once; ms. */
const deliveredWithin = async (policy: Partial<Destination['replay']>): Promise<number> => {
  const simulation = new Simulation({ seed: 1 });
  simulation.install();
  try {
    const network = new SimulatedNetwork(simulation);
    network.behaves('cam', ({ id }) =>
      Number(id) < SILENT ? { kind: 'answer', reply: { status: 200 }, after: 3_000_000 } : UP,
    );
    let replay: Replay | undefined;
    const ledgers = new DeliveryLedgers((destination) => replay?.wake(destination));
    const store = new MemoryStore({
      disk: (label) => simulation.delay(label, 1, 1),
      isInFlight: (id) => ledgers.isInFlight(id),
    });
    ledgers.follow(store);
    replay = new Replay({
      ...{ store, egress: network.egress, ledgers, budget: NO_BUDGET, hurried: forcedEntries() },
      log: noLog(simulation, () => true),
      nature: () => ({ kind: undefined, interface: '', metered: false, roaming: false }),
      maySend: () => true,
      onOutcome: () => {},
      onLeft: () => {},
      count: () => {},
    });
    const base = destinationOf('cam');
    const destination = {
      ...base,
      store: { ...base.store, order: 'none' as const },
      replay: { resume: 'none' as const, retry: { max: 200 }, ...policy },
    };
    let at = Number.POSITIVE_INFINITY;
    const fill = async (): Promise<void> => {
      for (let n = 0; n < ENTRIES; n++)
        await put(store, Buffer.alloc(300_000), { id: String(n), destination: 'cam', orderKey: '' });
      replay.policy({ version: '1', destinations: [destination] });
      replay.start();
    };
    void fill();
    await simulation.run(
      () => {
        if (network.deliveries.length === ENTRIES - SILENT) at = Math.min(at, performance.now());
        return network.deliveries.length === ENTRIES;
      },
      { within: 20_000_000 },
    );
    return at;
  } finally {
    simulation.uninstall();
  }
};

t.test('entries do not wait for others to which the destination takes its time', async (t) => {
  const ms = await deliveredWithin({});
  t.ok(ms < 300_000, `${ms} ms`);
});

t.test('where the policy says how many may be in flight, those that wait for an answer count', async (t) => {
  const ms = await deliveredWithin({ concurrency: 4 });
  t.ok(ms > 3_000_000, `${ms} ms`);
});
