// Entries whose time to live is over leave here, by the operator's rule and with its words. What time it is, and which entries
// are overdue, the store knows: it keeps them sorted by when their time is over, whatever destination and time to live they
// have, so a sweep costs what is overdue and not what waits.

import type { EntryBrief, Store } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';

/** Between two sweeps, ms. */
const EVERY_MS = 1_000;
/** Entries dropped at once, so that they share a flush. */
const TOGETHER = 64;

export class Expiry {
  readonly #store: Store;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<unknown> | undefined;
  #stopped = false;

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** Sweeps now, and from then on each second. */
  start(): void {
    if (this.#stopped) return;
    this.#sweeping = this.sweep()
      .catch((error) => this.#log.error({ err: messageOf(error) }, 'overdue entries cannot be dropped now'))
      .finally(() => {
        this.#timer = setTimeout(() => this.start(), EVERY_MS).unref();
        if (this.#stopped) clearTimeout(this.#timer);
      });
  }

  /** Drops what is overdue and not under way; resolves with how many. One that is being sent is found again by a later sweep,
   *  if it comes back. */
  async sweep(): Promise<number> {
    let dropped = 0;
    let together: Promise<boolean>[] = [];
    const settle = async (): Promise<void> => {
      const results = await Promise.allSettled(together);
      together = [];
      for (const result of results) {
        if (result.status === 'rejected') throw result.reason;
        if (result.value) dropped += 1;
      }
    };
    for await (const entry of this.#store.expired()) {
      if (this.#stopped) break;
      together.push(this.#store.drop(entry.id, 'expired', rule(entry)));
      if (together.length === TOGETHER) await settle();
    }
    await settle();
    return dropped;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }
}

const rule = ({ ttl = 0 }: EntryBrief): string => `its time to live of ${inWords(ttl)} is over`;

const UNITS: [name: string, ms: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];

/** As the policy would write it: the largest unit that is a whole number. */
const inWords = (ms: number): string => {
  const [name, size] = UNITS.find(([, unit]) => ms % unit === 0 && ms >= unit) ?? ['ms', 1];
  return `${ms / size}${name}`;
};
