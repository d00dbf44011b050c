// The ledgers of all destinations, and what the store tells of entries put into them. See delivery-ledger.ts.

import type { Store, StoreEvent, StoreEventKind } from '../store/store.ts';
import { DeliveryLedger, type RefusedEntries } from './delivery-ledger.ts';

/** What takes an entry out of its lane without replay's doing. */
export const TAKEN_OUT: ReadonlySet<StoreEventKind> = new Set([
  'dropped',
  'expired',
  'evicted',
  'quarantined',
]);

/** What makes an entry wait at a place where others may have overtaken it, or with another head. */
const CAME_BACK: ReadonlySet<StoreEventKind> = new Set(['retried', 'edited', 'moved']);

export class DeliveryLedgers {
  readonly #ledgers = new Map<string, DeliveryLedger>();
  readonly #changed: (destination: string) => void;

  /** `changed`: called when more may be sent to a destination than before. */
  constructor(changed: (destination: string) => void) {
    this.#changed = changed;
  }

  of(destination: string): DeliveryLedger {
    let ledger = this.#ledgers.get(destination);
    if (!ledger) {
      ledger = new DeliveryLedger(() => this.#changed(destination));
      this.#ledgers.set(destination, ledger);
    }
    return ledger;
  }

  /** For the store: see `InFlight`. */
  isInFlight(id: string): boolean {
    for (const ledger of this.#ledgers.values()) if (ledger.isInFlight(id)) return true;
    return false;
  }

  /** By destination, what it refuses again and again. */
  *refused(): Generator<[destination: string, RefusedEntries]> {
    for (const [destination, { refused }] of this.#ledgers) if (refused) yield [destination, refused];
  }

  /** Listens to the store, until the returned function is called. */
  follow(store: Store): () => void {
    const hear = ({ kind, id, destination, from }: StoreEvent): void => {
      const ledger = this.of(destination);
      if (from !== undefined) this.of(from).left(id);
      if (kind === 'stored') ledger.appended();
      else if (CAME_BACK.has(kind)) void ledger.cameBack(() => store.get(id));
      else if (kind === 'delivered' || kind === 'dead') ledger.recorded(id);
      else if (TAKEN_OUT.has(kind)) ledger.left(id);
    };
    store.on('event', hear);
    return () => store.off('event', hear);
  }
}
