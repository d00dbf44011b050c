// Which of the requests with one order key goes first (law 3): the part that the store cannot know, because these requests are not stored
// (yet). One gate per destination.
//
// The rule. A request that reaches the queue while its lane drains goes straight on only if nothing with its key is stored (committed,
// being committed, or being sent) and nothing with its key is in flight. Otherwise it is stored, behind. An entry is not sent while a
// request with its key is in flight. So, for two requests A and B with one key:
//
//   A is stored, B comes                     B is stored behind A: the store says so, until A has left it durably
//   A is being committed, B comes            B is stored: `committing` says so until A's commit, and then the store
//   A is in flight, B comes                  B is stored, and is not sent before A has ended: `inFlight` says so
//   … A is answered                          B is sent
//   … A breaks off                           A is being committed from then on, so B is sent, and A committed behind B, because its
//                                            receipt comes later. They overlapped at the app, so either order is right; what comes
//                                            after both receipts is behind both
//   A is sent while it is stored             it began when nothing with its key was stored or in flight. B comes: as where A breaks off
//   … A outlasts its patience                A is an entry by then, and its upload goes on: `inFlight` until that has ended
//   B asks the store, A comes meanwhile      B counts as in flight before it asks: A is stored, and waits for B
//   the lane is empty, A is in flight,       A and B are both in flight, as they would be without Layby: they overlap, and neither
//   B comes                                  has a receipt. Whichever breaks off is stored behind what was answered
//
// A request that is stored was counted as `committing`, and its lane as pending (backlog.ts), in the same turn of the event loop in
// which that was decided, so no later request can miss it. With `order: strict` the key is the lane: nothing passes while anything
// waits. With `order: none` there are no keys.

import { createHash } from 'node:crypto';

interface Counts {
  inFlight: number;
  committing: number;
}

/** Ends what was begun; harmless when called again. */
export type Release = () => void;

/** A key is a URL for the most part, up to 60 KiB: a longer one is known by its hash, characters. */
const LONGEST_KEY = 128;

/** The name under which gate and ledger know an order key. '' stays ''. */
export const compactKey = (orderKey: string): string =>
  orderKey.length <= LONGEST_KEY ? orderKey : createHash('sha256').update(orderKey).digest('base64');

export class OrderGate {
  readonly #keys = new Map<string, Counts>();
  readonly #opened: () => void;

  /** `opened`: called when the last request of a key has ended that entries had to wait for. */
  constructor(opened: () => void) {
    this.#opened = opened;
  }

  /** A request is in flight that is no entry, or whose upload goes on after it became one. */
  enter(orderKey: string): Release {
    return this.#count(orderKey, 'inFlight');
  }

  /** A request is being stored. */
  commit(orderKey: string): Release {
    return this.#count(orderKey, 'committing');
  }

  #count(orderKey: string, what: keyof Counts): Release {
    if (orderKey === '') return () => {};
    const key = compactKey(orderKey);
    const counts = this.#keys.get(key) ?? { inFlight: 0, committing: 0 };
    this.#keys.set(key, counts);
    counts[what] += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      counts[what] -= 1;
      if (counts.inFlight === 0 && counts.committing === 0) this.#keys.delete(key);
      if (what === 'inFlight' && counts.inFlight === 0) this.#opened();
    };
  }

  /** Nothing with the key is in flight or being stored. */
  isFree(orderKey: string): boolean {
    return !this.#keys.has(compactKey(orderKey));
  }

  /** An entry with the key may be sent. */
  maySend(orderKey: string): boolean {
    return (this.#keys.get(compactKey(orderKey))?.inFlight ?? 0) === 0;
  }

  /** No request is in flight or being stored. */
  get isEmpty(): boolean {
    return this.#keys.size === 0;
  }
}
