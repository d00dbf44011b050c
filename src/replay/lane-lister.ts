// Reads the lane of one destination into its ledger, as far as the ledger wants to know it. A walk that fails is repeated, and a lane of which
// less is known than the store counts is read anew: no entry depends on a single event.

import type { Store } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { pauseMs } from './backoff.ts';
import type { DeliveryLedger } from './delivery-ledger.ts';

/** The longest pause after a walk that failed, ms. */
const FAILED_MAX_MS = 10_000;
/** What is counted and not known is looked for after so long, ms: a change may be on its way. */
const MISSED_MS = 1_000;
/** A pass over what was forgotten costs a read per entry: the next one begins after so many times its duration, and not before, ms. */
const PASS = { times: 10, leastMs: 1_000 };

export interface LaneListerOptions {
  destination: string;
  store: Pick<Store, 'list' | 'totals'>;
  ledger: DeliveryLedger;
  log: Logger;
  /** More is known. */
  listed: () => void;
}

export class LaneLister {
  readonly #options: LaneListerOptions;
  #failures = 0;
  #notBefore = 0;
  #missedSince: number | undefined;
  #passBegan: number | undefined;
  #passAt = 0;

  constructor(options: LaneListerOptions) {
    this.#options = options;
  }

  /** Begins a walk where one is wanted. `now`: ms. */
  look(now: number): void {
    const { ledger } = this.#options;
    if (now < this.#notBefore) return;
    if (ledger.again !== undefined && now >= Math.max(ledger.again, this.#passAt)) this.#newPass(now);
    const wanted = ledger.wanted(now);
    if (wanted > 0) return void this.#walk(wanted);
    this.#failures = 0;
    this.#compare(now);
  }

  #newPass(now: number): void {
    const took = this.#passBegan === undefined ? 0 : now - this.#passBegan;
    this.#passBegan = now;
    this.#passAt = now + Math.max(PASS.leastMs, took * PASS.times);
    this.#options.ledger.begin();
  }

  /** When there is something to do without anything happening, ms; Infinity: never. */
  get dueAt(): number {
    const { again = Number.POSITIVE_INFINITY } = this.#options.ledger;
    const missed = this.#missedSince === undefined ? Number.POSITIVE_INFINITY : this.#missedSince + MISSED_MS;
    return Math.min(
      this.#failures > 0 ? this.#notBefore : Number.POSITIVE_INFINITY,
      Math.max(again, this.#passAt),
      missed,
    );
  }

  async #walk(wanted: number): Promise<void> {
    const { store, ledger, destination, log, listed } = this.#options;
    const listing = ledger.list();
    let complete = false;
    try {
      let left = wanted;
      // Without a limit: an entry that turns out to be damaged is not yielded, and must not look like the end.
      const walk = store.list({ destination, state: 'undelivered', after: listing.after });
      for await (const entry of walk) {
        if (!ledger.accept(listing, entry) || --left === 0) {
          left = 0;
          break;
        }
      }
      complete = left > 0;
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      this.#notBefore = performance.now() + pauseMs(this.#failures, FAILED_MAX_MS);
      log.error({ err: messageOf(error), destination }, 'lane cannot be read');
    }
    ledger.listed(listing, complete);
    listed();
  }

  #compare(now: number): void {
    const { ledger, store, destination, log } = this.#options;
    const counted = store.totals().get(destination)?.entries ?? 0;
    if (!ledger.isComplete || ledger.known >= counted) {
      this.#missedSince = undefined;
      return;
    }
    this.#missedSince ??= now;
    if (now - this.#missedSince < MISSED_MS) return;
    this.#missedSince = undefined;
    log.error({ destination, known: ledger.known, counted }, 'entries were missed, the lane is read anew');
    ledger.begin();
    this.look(now);
  }
}
