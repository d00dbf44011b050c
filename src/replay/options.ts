// What replay is made of, and whom it tells.

import type { Egress } from '../egress/egress.ts';
import type { Entry, Store } from '../store/store.ts';
import type { Logger } from '../telemetry/log.ts';
import type { LinkNature } from './allowed.ts';
import type { Budget } from './budget.ts';
import type { DeliveryLedgers } from './delivery-ledgers.ts';
import type { Hurried } from './hurried.ts';

export interface ReplayOptions {
  store: Store;
  egress: Egress;
  log: Logger;
  /** Of all destinations together, bytes per second; default: as fast as the way takes it. */
  rate?: number | undefined;
  /** Whether the last try got through to the destination. */
  onOutcome: (destination: string, reached: boolean) => void;
  /** An entry has left the lane. */
  onLeft: (destination: string) => void;
  /** Whether nothing older in another lane goes first (former-lanes.ts); `Replay.wake` when that may have changed. */
  maySend: (entry: Entry) => boolean;
  count: (destination: string, outcome: string, bytes: number) => void;
  /** What kind of link the way out is now. */
  nature: () => LinkNature;
  budget: Budget;
  /** Entries that an operator wants sent now. */
  hurried: Hurried;
  ledgers: DeliveryLedgers;
}
