// Who goes first, of the requests of one order key (law 3): the part that the store cannot know, since it is not stored (yet).
//
// The rule. A request that reaches the queue while its lane drains goes straight on only where nothing of its key is stored
// (committed, being committed, or being sent) and nothing of its key is on its way through. Else it is stored, behind. An
// entry is not sent while a request of its key is on its way through. So, of one key, for any two requests A and B:
//
//   A is stored, B comes                     B is stored behind A: the store says so, until A has left it durably
//   A is being stored, B comes               B is stored: `storing` says so until A's commit, and then the store
//   A goes through, B comes                  B is stored, and is not sent before A is over: `passing` says so
//   … A is answered                          B is sent
//   … A breaks off                           A is being stored from then on, so B is sent, and A committed behind B, since its receipt
//                                            comes later. They overlapped at the app, so either order is right; what comes after
//                                            both receipts is behind both
//   A is sent while it is stored             it began when nothing of its key was stored or passing. B comes: as where A breaks off
//   … A outlasts its patience                A is an entry by then, and its upload goes on: `passing` until that is over
//   B asks the store, A comes meanwhile      B counts as passing from before it asks: A is stored, and waits for B
//   the way is free, nothing of the lane     A and B both go through, as they would without Layby: they overlap, and neither
//   is stored, A goes through, B comes       has a receipt. Whichever breaks off is stored behind what was answered
//
// A request that is stored was counted as `storing`, and its lane as pending (backlog.ts), in the same turn of the event loop in
// which that was decided, so no later request can miss it. With `order: strict` the key is the lane: nothing passes while
// anything waits. With `order: none` there are no keys.

interface Turn {
  passing: number;
  storing: number;
}

export class Turns {
  readonly #turns = new Map<string, Turn>();
  /** Told when the last request of a key is over that entries had to wait for. */
  onFree: (destination: string) => void = () => {};

  /** A request goes through; the function ends that. */
  pass(destination: string, orderKey: string): () => void {
    return this.#count(destination, orderKey, 'passing');
  }

  /** A request is being stored; the function ends that. */
  store(destination: string, orderKey: string): () => void {
    return this.#count(destination, orderKey, 'storing');
  }

  #count(destination: string, orderKey: string, what: keyof Turn): () => void {
    if (orderKey === '') return () => {};
    const name = nameOf(destination, orderKey);
    const turn = this.#turns.get(name) ?? { passing: 0, storing: 0 };
    this.#turns.set(name, turn);
    turn[what] += 1;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      turn[what] -= 1;
      if (turn.passing === 0 && turn.storing === 0) this.#turns.delete(name);
      if (what === 'passing' && turn.passing === 0) this.onFree(destination);
    };
  }

  /** Nothing of the key goes through or is being stored. */
  isFree(destination: string, orderKey: string): boolean {
    return !this.#turns.has(nameOf(destination, orderKey));
  }

  /** An entry of the key may be sent. */
  maySend(destination: string, orderKey: string): boolean {
    return (this.#turns.get(nameOf(destination, orderKey))?.passing ?? 0) === 0;
  }
}

/** Names of destinations have no spaces. */
const nameOf = (destination: string, orderKey: string): string => `${destination} ${orderKey}`;
