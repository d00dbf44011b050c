// The rates of links: one bucket for each kind of link, for all destinations together. Pure: policy, kind and time come in.

import { type Destination, LINK_KINDS, type LinkKind } from '../policy/policy.ts';
import { TokenBucket } from './token-bucket.ts';

/** bytes per second; where destinations name different ones for a kind, the lowest holds for all. */
export function linkRates(destinations: readonly Destination[]): Partial<Record<LinkKind, number>> {
  const rates: Partial<Record<LinkKind, number>> = {};
  for (const { replay } of destinations)
    for (const kind of LINK_KINDS) {
      const rate = replay.linkRates?.[kind];
      if (rate !== undefined) rates[kind] = Math.min(rate, rates[kind] ?? rate);
    }
  return rates;
}

export class LinkBuckets {
  #buckets: Partial<Record<LinkKind, TokenBucket>> = {};

  /** `now`: ms. A bucket whose rate stays is kept as full as it is. */
  policy(destinations: readonly Destination[], now: number): void {
    const rates = linkRates(destinations);
    const before = this.#buckets;
    this.#buckets = {};
    for (const kind of LINK_KINDS) {
      const rate = rates[kind];
      const old = before[kind];
      if (rate !== undefined)
        this.#buckets[kind] = old?.rate === rate ? old : new TokenBucket(rate, now, { shared: true });
    }
  }

  /** undefined: the link has no rate, or nobody knows its kind. */
  of(kind: LinkKind | undefined): TokenBucket | undefined {
    return kind && this.#buckets[kind];
  }
}
