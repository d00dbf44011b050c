// How classes share the way out. Pure: what was sent and the time come in, a pause comes out.
//
// Nobody tells us how much the way carries, nor whether two destinations lie behind one bottleneck. So it is found out. When a higher
// class begins to send, lower ones step back to their share at once; then they are let go for a moment, and it is seen whether
// the higher one gets less by that:
//
//   alone    one class sends
//   yielding lower classes have their share by weight   ── after a trial ──► letting
//   letting  lower classes send as they can             ── it got less ────► yielding, for long
//                                                       ── it did not ─────► letting, for long
//
// So a class whose destination is slow costs the others a moment now and then, one whose destination stalls costs nothing, and
// even the lowest always has its share.

import { CLASSES } from '../policy/policy.ts';

/** By class, the lowest first. */
export const WEIGHTS: readonly number[] = CLASSES.map((_, at) => 4 ** at);

/** A class that has not asked for so long does not count, ms: it has nothing, or its destination takes nothing. */
const LIVELY_MS = 1_000;
/** One whose last try has ended counts for so much longer, ms: the next one begins at once where there is one. */
const ENDED_MS = 100;
/** The trials, ms: the first half of each is for what buffers on the way still hold. */
const TRIAL_MS = 2_000;
/** How long what was found out is believed, ms. */
const BELIEVED_MS = 20_000;
/** Less than this part of what it had while others stepped back: they are in its way. */
const HINDERED = 0.8;
/** Less than this in half a trial says more of how little there is to send than of what is in the way, bytes. */
const TELLING_BYTES = 64 * 1024;
/** What a lower class may be ahead of its share, bytes for each unit of weight. */
const SLACK = 64 * 1024;
/** A class that waits asks again after so long, ms. */
const ASK_AGAIN_MS = 20;

interface Sender {
  /** When it last asked, or sent. */
  last: number;
  /** Bytes in this phase, and in its second half. */
  sent: number;
  sentLate: number;
}

export class Share {
  readonly #senders: Sender[] = WEIGHTS.map(() => ({
    ...{ last: Number.NEGATIVE_INFINITY, sent: 0, sentLate: 0 },
  }));
  #phase: { name: 'alone' | 'yielding' | 'letting'; from: number; until: number } = {
    ...{ name: 'alone', from: 0, until: 0 },
  };
  /** The highest class that sends, and what it had while the others stepped back, bytes per ms. */
  #highest = -1;
  #unhindered = 0;

  /** `bytes` of a class leave now. */
  took(cls: number, bytes: number, now: number): void {
    const sender = this.#senders[cls]!;
    sender.last = now;
    this.#turn(now);
    sender.sent += bytes;
    if (now >= (this.#phase.from + this.#phase.until) / 2) sender.sentLate += bytes;
  }

  /** No try of the class is under way any more. Without this a lower class would yield for a second to each small request. */
  ended(cls: number, now: number): void {
    const sender = this.#senders[cls]!;
    sender.last = Math.min(sender.last, now - LIVELY_MS + ENDED_MS);
  }

  /** ms until the class may ask again; 0: a piece may go now. */
  wait(cls: number, now: number): number {
    this.#senders[cls]!.last = now;
    this.#turn(now);
    if (this.#phase.name !== 'yielding' || cls >= this.#highest) return 0;
    const mine = this.#senders[cls]!.sent / WEIGHTS[cls]!;
    for (let higher = cls + 1; higher < WEIGHTS.length; higher++) {
      if (!this.#isLively(higher, now)) continue;
      if (mine > this.#senders[higher]!.sent / WEIGHTS[higher]! + SLACK) return ASK_AGAIN_MS;
    }
    return 0;
  }

  #isLively(cls: number, now: number): boolean {
    return now - this.#senders[cls]!.last < LIVELY_MS;
  }

  #turn(now: number): void {
    const highest = this.#senders.findLastIndex((_, cls) => this.#isLively(cls, now));
    const others = this.#senders.some((_, cls) => cls < highest && this.#isLively(cls, now));
    if (highest !== this.#highest) {
      this.#highest = highest;
      this.#begin(others ? 'yielding' : 'alone', now, TRIAL_MS);
      return;
    }
    const { name, until } = this.#phase;
    if (name === 'alone') {
      if (others) this.#begin('yielding', now, TRIAL_MS);
      return;
    }
    if (now < until) return;
    const late = this.#senders[highest]?.sentLate ?? 0;
    const half = (until - this.#phase.from) / 2;
    if (name === 'yielding') {
      this.#unhindered = late / half;
      this.#begin(others ? 'letting' : 'alone', now, TRIAL_MS);
    } else if (until - this.#phase.from > TRIAL_MS) {
      this.#begin(others ? 'yielding' : 'alone', now, TRIAL_MS);
    } else {
      const telling = this.#unhindered * half >= TELLING_BYTES;
      const hindered = telling && late / half < this.#unhindered * HINDERED;
      this.#begin(hindered ? 'yielding' : 'letting', now, BELIEVED_MS);
    }
  }

  #begin(name: 'alone' | 'yielding' | 'letting', now: number, ms: number): void {
    this.#phase = { name, from: now, until: now + ms };
    for (const sender of this.#senders) {
      sender.sent = 0;
      sender.sentLate = 0;
    }
  }
}
