// What the queue and replay count, in Prometheus' text format.

import { Counter, Gauge, Registry } from 'prom-client';
import type { DeliveryLedgers } from '../replay/delivery-ledgers.ts';
import type { Store } from '../store/store.ts';
import type { Orphans } from './orphans.ts';

export interface QueueMetrics {
  request(destination: string, outcome: string): void;
  replayed(destination: string, outcome: string, bytes: number): void;
  text(): Promise<string>;
}

export function queueMetrics(
  store: Store,
  orphans: Orphans,
  ledgers: Pick<DeliveryLedgers, 'refused'>,
): QueueMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: 'layby_queue_requests_total',
    help: 'requests that came to the queue, by how they ended',
    labelNames: ['destination', 'outcome'],
    registers,
  });
  const tries = new Counter({
    name: 'layby_replay_tries_total',
    help: 'tries to deliver an entry, by what came of them',
    labelNames: ['destination', 'outcome'],
    registers,
  });
  const sent = new Counter({
    name: 'layby_replay_bytes_total',
    help: 'body bytes that destinations took, from entries',
    labelNames: ['destination'],
    registers,
  });
  const events = new Counter({
    name: 'layby_entries_total',
    help: 'events in the life of entries',
    labelNames: ['destination', 'event'],
    registers,
  });
  store.on('event', ({ destination, kind }) => events.inc({ destination, event: kind }));
  const gauge = <Value extends string>(
    name: string,
    help: string,
    counts: () => Iterable<readonly [string, Readonly<Record<Value, number>>]>,
    value: Value,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: ['destination'],
      registers,
      collect() {
        this.reset();
        for (const [destination, numbers] of counts()) this.set({ destination }, numbers[value]);
      },
    });
  const totals = () => store.totals();
  gauge('layby_entries', 'entries that wait', totals, 'entries');
  gauge('layby_entries_bytes', 'body bytes of the entries that wait', totals, 'bytes');
  gauge(
    'layby_entries_held_bytes',
    'bytes of bodies and records of all entries: what a quota counts',
    totals,
    'held',
  );
  gauge('layby_dead_letters', 'entries that were refused for good', totals, 'dead');
  gauge('layby_staged', 'parts of uploads that have not come to their end', totals, 'staged');
  gauge('layby_quarantined', 'entries that are damaged on the disk', totals, 'quarantined');
  const orphaned = () => orphans.counts();
  gauge(
    'layby_orphaned_entries',
    'entries, in any state, of destinations that the policy does not name',
    orphaned,
    'entries',
  );
  gauge('layby_orphaned_bytes', 'bytes of their bodies and records', orphaned, 'bytes');
  new Gauge({
    name: 'layby_refused_entries',
    help: 'entries that wait and that the destination has refused three times or more',
    labelNames: ['destination'],
    registers,
    collect() {
      this.reset();
      for (const [destination, { ids }] of ledgers.refused()) this.set({ destination }, ids.length);
    },
  });
  new Gauge({
    name: 'layby_store_damage',
    help: 'what was found damaged or missing in the store since it was opened; above 0 is an alarm',
    registers,
    collect() {
      this.set(store.report.damage.length);
    },
  });
  new Gauge({
    name: 'layby_store_set_aside_bytes',
    help: 'bytes of damaged files that were set aside and are kept until an operator discards them',
    registers,
    async collect() {
      this.set((await store.setAside()).bytes);
    },
  });
  new Gauge({
    name: 'layby_store_physical_bytes',
    help: 'bytes that the store takes on the disk',
    registers,
    async collect() {
      this.set(await store.physicalBytes());
    },
  });
  return {
    request: (destination, outcome) => requests.inc({ destination, outcome }),
    replayed: (destination, outcome, bytes) => {
      tries.inc({ destination, outcome });
      if (outcome === 'delivered') sent.inc({ destination }, bytes);
    },
    text: () => registry.metrics(),
  };
}
