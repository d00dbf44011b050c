// The order of one destination's entries (law 3). Pure: it is told what there is and what happened, and says what may be sent.
//
// It sees a window of the lane, the oldest entries. An entry may be sent when
//   order none:   its own pause is over
//   order key:    also no older entry of the window has its key (keys of older entries are in the window before it)
//   order strict: it is the oldest (all have one key)

import type { Entry } from '../store/store.ts';

/** Entries held in memory for each destination. */
export const WINDOW = 256;

interface Slot {
  entry: Entry;
  sending: boolean;
  /** Not before this time, ms. */
  notBefore: number;
  /** Answers in a row that did not take it. */
  refusals: number;
}

export class Lane {
  #slots: Slot[] = [];
  /** Larger seqs have not been seen yet. */
  #seen = 0;

  /** seq after which the next entries are to be listed. */
  get seen(): number {
    return this.#seen;
  }

  /** How many more entries fit. */
  get room(): number {
    return WINDOW - this.#slots.length;
  }

  /** What is on its way: entries, and their bytes. */
  get sending(): { entries: number; bytes: number } {
    const sending = this.#slots.filter((slot) => slot.sending);
    return { entries: sending.length, bytes: sending.reduce((sum, { entry }) => sum + entry.bytes, 0) };
  }

  get empty(): boolean {
    return this.#slots.length === 0;
  }

  /** Takes an entry; they come in seq order. */
  add(entry: Entry): void {
    this.#seen = entry.seq;
    this.#insert({ entry, sending: false, notBefore: 0, refusals: 0 });
  }

  /** Takes an entry that is under way already, whether or not its turn to be listed has come. */
  adopt(entry: Entry): void {
    this.#insert({ entry, sending: true, notBefore: 0, refusals: 0 });
  }

  #insert(slot: Slot): void {
    const after = this.#slots.findLastIndex(({ entry }) => entry.seq < slot.entry.seq);
    this.#slots.splice(after + 1, 0, slot);
  }

  /** Forgets what is not under way, to be listed anew: an older entry came back. */
  rewind(): void {
    this.#slots = this.#slots.filter((slot) => slot.sending);
    this.#seen = 0;
  }

  has(id: string): boolean {
    return this.#slots.some((slot) => slot.entry.id === id);
  }

  /** The next entry to send at `now`, marked as under way; undefined when none may go. `may`: what others say of it. */
  next(now: number, may: (entry: Entry) => boolean = () => true): Entry | undefined {
    for (const slot of this.#first()) {
      if (slot.notBefore > now || !may(slot.entry)) continue;
      slot.sending = true;
      return slot.entry;
    }
    return undefined;
  }

  /** The earliest time (ms) at which one more entry may go; undefined when only the end of another try can change that. */
  nextAt(mayGo: (entry: Entry) => boolean = () => true): number | undefined {
    let at: number | undefined;
    for (const { notBefore, entry } of this.#first()) {
      if (!mayGo(entry)) continue;
      if (at === undefined || notBefore < at) at = notBefore;
    }
    return at;
  }

  /** Those that wait and have no older one with their key; nor a newer one that is on its way, since an entry that is edited or comes back may
   *  be older than that. */
  *#first(): Generator<Slot> {
    const keys = new Set(this.#slots.flatMap(({ sending, entry }) => (sending ? [entry.orderKey] : [])));
    for (const slot of this.#slots) {
      const { orderKey } = slot.entry;
      if (orderKey !== '') {
        if (keys.has(orderKey)) continue;
        keys.add(orderKey);
      }
      if (!slot.sending) yield slot;
    }
  }

  /** Where an entry stands: when its own pause is over, and the first older one with its key. */
  place(id: string): { notBefore: number; older?: Entry } | undefined {
    const slot = this.#slots.find(({ entry }) => entry.id === id);
    if (!slot) return undefined;
    const { orderKey, seq } = slot.entry;
    const older =
      orderKey === ''
        ? undefined
        : this.#slots.find(({ entry }) => entry.orderKey === orderKey && entry.seq < seq);
    if (!older) return { notBefore: slot.notBefore };
    const state = older.sending ? 'sending' : older.entry.state;
    return { notBefore: slot.notBefore, older: { ...older.entry, state } };
  }

  /** It has left, for whatever reason. */
  left(id: string): void {
    this.#slots = this.#slots.filter((slot) => slot.entry.id !== id);
  }

  /** It stays, and may be tried again at `notBefore`. `entry`: as it is known now. */
  stays(entry: Entry, notBefore: number): void {
    const slot = this.#slots.find(({ entry: { id } }) => id === entry.id);
    if (!slot) return;
    slot.entry = entry;
    slot.sending = false;
    slot.notBefore = notBefore;
  }

  /** Counts one more answer in a row that did not take it; from 1 again where the try had `progressed`. */
  streak(id: string, progressed: boolean): number {
    const slot = this.#slots.find(({ entry }) => entry.id === id);
    if (!slot) return 1;
    slot.refusals = progressed ? 1 : slot.refusals + 1;
    return slot.refusals;
  }

  /** Its pause is over. */
  hurry(id: string): void {
    for (const slot of this.#slots) if (slot.entry.id === id) slot.notBefore = 0;
  }

  /** The link is back: every pause is over. */
  wake(): void {
    for (const slot of this.#slots) slot.notBefore = 0;
  }
}
