// Entries of destinations that the policy does not name: kept, and not sent. They are told in the log when a policy makes them, or
// anew after a start, and counted in the metrics; `layby status` has them from the lanes that the queue reports.

import type { Policy } from '../policy/policy.ts';
import type { Store } from '../store/store.ts';
import type { Logger } from '../telemetry/log.ts';
import { storedIn } from '../wire/edge-service.ts';

export class Orphans {
  readonly #store: Store;
  readonly #log: Logger;
  #named: ReadonlySet<string> | undefined;
  #told: ReadonlySet<string> = new Set();

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** Logs the destinations that were not orphaned before. */
  policy({ destinations }: Policy): void {
    this.#named = new Set(destinations.map(({ name }) => name));
    const orphaned = this.counts();
    for (const [destination, { entries, bytes }] of orphaned)
      if (!this.#told.has(destination))
        this.#log.warn(
          {
            ...{ destination, entries, bytes },
            remedy: `layby queue move --from ${destination} --to NAME, or layby queue drop --destination ${destination}`,
          },
          'the policy names no such destination: its entries are kept and not sent',
        );
    this.#told = new Set(orphaned.keys());
  }

  /** By destination: entries of whatever state, and bytes of their bodies and records. Empty while there is no policy. */
  counts(): Map<string, { entries: number; bytes: number }> {
    const counts = new Map<string, { entries: number; bytes: number }>();
    for (const [destination, totals] of this.#named ? this.#store.totals() : []) {
      const entries = storedIn(totals);
      if (entries > 0 && !this.#named!.has(destination))
        counts.set(destination, { entries, bytes: totals.held });
    }
    return counts;
  }
}
