// One try on the way to one destination: at the pace of its class and rates, counted for the budget of the link, and only where the policy
// lets it over this link. When a try is due, and what follows from it, is the runner's.

import type { Egress } from '../egress/egress.ts';
import { forEntry } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { EntryHead, Store } from '../store/store.ts';
import { forbidden, type LinkNature } from './allowed.ts';
import { AskFirst } from './ask-first.ts';
import type { Budget } from './budget.ts';
import type { Body } from './deliver/body.ts';
import { deliver } from './deliver/choose.ts';
import type { Result } from './deliver/deliver.ts';
import { Goodput } from './deliver/goodput.ts';
import type { Lease } from './delivery-ledger.ts';
import { EtagMemory } from './deliver/s3/etag-memory.ts';
import { TokenBucket } from './token-bucket.ts';
import type { WayOut } from './way-out.ts';

export interface SenderOptions {
  store: Store;
  egress: Egress;
  budget: Budget;
  wayOut: WayOut;
  nature: () => LinkNature;
  destination: () => Destination;
  destinations: () => readonly Destination[];
}

export class Sender {
  readonly goodput = new Goodput();
  readonly #askFirst = new AskFirst();
  readonly #etags = new EtagMemory();
  readonly #options: SenderOptions;
  #bucket: TokenBucket | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  #ownBucket = (): TokenBucket | undefined => {
    const { rate } = this.#options.destination().replay;
    if (this.#bucket?.rate !== rate)
      this.#bucket = rate ? new TokenBucket(rate, performance.now()) : undefined;
    return this.#bucket;
  };

  /** Why so many bytes may not go over the link that there is, in words. */
  forbidden(bytes: number): string | undefined {
    const { nature, budget, destination } = this.#options;
    const link = nature();
    const used = link.kind === undefined ? { day: 0, month: 0 } : budget.used(link.kind);
    return forbidden(destination(), link, used, bytes);
  }

  /** `moved`: called with each piece that leaves. Rejects as `deliver` does. */
  send(head: EntryHead, body: Body, own: Lease, moved = () => {}): Promise<Result> {
    const { store, egress, budget, nature, wayOut, destination, destinations } = this.#options;
    const { kind } = nature();
    const use = kind && budget.begin(kind, body.bytes);
    const pace = wayOut.pace(head.class, this.#ownBucket, (bytes) => {
      own.movedAt = performance.now();
      use?.moved(bytes);
      moved();
    });
    return deliver({
      ...{ store, egress, entry: head, body, tried: own.tried ?? false, signal: own.end.signal },
      ...{ destination: forEntry(destination(), head), destinations: destinations() },
      ...{ pace, goodput: this.goodput, etags: this.#etags, expect: this.#askFirst.isNeeded(head.id) },
    })
      .then((result) => {
        this.#askFirst.ended(head.id, result);
        return result;
      })
      .finally(() => {
        pace.end();
        use?.end();
      });
  }
}
