// What all uploads share: the way out, by class, its rate where there is one, and the rate of the link that it is. Here is the waiting; what is waited for is decided in
// share.ts and token-bucket.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import type { LinkKind } from '../policy/policy.ts';
import type { Pace } from './deliver/deliver.ts';
import { LinkBuckets } from './link-rates.ts';
import { Share, WEIGHTS } from './share.ts';
import { TokenBucket } from './token-bucket.ts';

/** Without a rate, bytes. */
const PIECE = 64 * 1024;

export class WayOut {
  readonly #share = new Share();
  readonly #bucket: TokenBucket | undefined;
  readonly #kind: () => LinkKind | undefined;
  /** By the kind of the link. */
  readonly links = new LinkBuckets();
  /** Tries under way, by class. */
  readonly #tries: number[] = WEIGHTS.map(() => 0);
  /** Body bytes that have left. */
  moved = 0;

  /** `rate`: of all destinations together, bytes per second; `kind`: of the link now. */
  constructor(rate: number | undefined, kind: () => LinkKind | undefined) {
    this.#kind = kind;
    this.#bucket =
      rate === undefined ? undefined : new TokenBucket(rate, performance.now(), { shared: true });
  }

  /** For one try, until `end`. `own`: the bucket of its destination; `moved`: called with each piece that leaves, which waits for
   *  its promise. */
  pace(
    entryClass: number,
    own: () => TokenBucket | undefined,
    moved: (bytes: number) => Promise<void> | undefined,
  ): Pace & { end: () => void } {
    const cls = Math.min(Math.max(0, entryClass), WEIGHTS.length - 1);
    const buckets = () =>
      [this.#bucket, this.links.of(this.#kind()), own()].filter((bucket) => bucket !== undefined);
    const wait = async (ms: number, signal: AbortSignal): Promise<void> => {
      for (let left = ms; left > 0; left = this.#share.wait(cls, performance.now()))
        await sleep(timerMs(left), undefined, { signal });
    };
    this.#tries[cls]! += 1;
    return {
      end: () => {
        this.#tries[cls]! -= 1;
        if (this.#tries[cls] === 0) this.#share.ended(cls, performance.now());
      },
      get piece() {
        return Math.min(PIECE, ...buckets().map(({ piece }) => piece));
      },
      take: (bytes, signal) => {
        const asked = performance.now();
        const yielded = this.#share.wait(cls, asked);
        const leave = (): Promise<void> | undefined => {
          const now = performance.now();
          const ms = Math.max(0, ...buckets().map((bucket) => bucket.take(bytes, now)));
          this.#share.took(cls, bytes, now);
          this.moved += bytes;
          const counted = moved(bytes);
          const paced = ms > 0 ? sleep(timerMs(ms), undefined, { signal }) : undefined;
          return counted && paced ? Promise.all([counted, paced]).then(() => {}) : (counted ?? paced);
        };
        return yielded > 0 ? wait(yielded, signal).then(leave) : leave();
      },
    };
  }
}
