// The one owner of what is being delivered to a destination (law 3). It knows a part of the lane, grants a lease for each delivery, and
// gets the lease back with the outcome. The lane's cursor, the order gate, the store's state `sending` and the cleanup of abandoned uploads
// ask it; nobody else keeps such a flag. It outlives the scheduler: a destination that the policy drops and names again finds its
// deliveries where they were. Pure: no clock, no I/O.
//
// An entry, as the ledger knows it:
//
//   (unknown) ── listed, or came back ───────────► waiting
//   (unknown) ── claimed before its commit ──────► leased
//   waiting ──── granted ────────────────────────► leased
//   leased ───── returned: it waits again ───────► waiting, with a pause
//   leased ───── returned: it has left ──────────► (unknown)
//   any ──────── dropped, expired, quarantined ──► (unknown); a delivery in flight is aborted, and its lease ends with it
//
// What may be sent:
//   order none:   any waiting entry whose pause is over
//   order key:    of each key only the oldest, and not while the gate has a request of that key in flight
//   order strict: only the oldest (all have one key)
//
// The part of the lane that is known is everything up to the cursor, in the order of receipts. An entry that waits for its pause or for an older
// one costs some 200 bytes, so that 300 refused ones do not hide what is behind them. If there are too many of those even so, the newest
// are forgotten, their keys stay blocked, and the cursor goes on behind them; when it has reached the end, it begins anew.

import { crc32 } from 'node:zlib';
import type { Entry } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { isStuck } from './give-up.ts';
import { compactKey, OrderGate } from './order-gate.ts';

/** Entries that are known whole, with their headers; and so many that may be sent are looked for. */
export const WINDOW = 256;
/** Entries that are known at most. */
export const KNOWN = 16_384;
/** Fewer are not worth a listing while there is something to send. */
const BATCH = 32;
/** Answers in a row that did not take an entry, from which on it is shown as refused. */
const SHOWN_FROM = 3;
/** Bits of the table of keys whose entries were forgotten: 128 KiB. */
const SKIPPED_BITS = 2 ** 20;

/** A delivery in flight. Times are ms of performance.now(). */
export interface Lease {
  readonly id: string;
  /** Aborts the delivery. */
  readonly end: AbortController;
  readonly began: number;
  /** When bytes of its body moved last: a piece was taken, or was still on its way to the destination. */
  movedAt: number;
  /** What is delivered is an entry, not a body that may become one. */
  isEntry?: boolean;
  /** An attempt before it failed. */
  tried?: boolean;
  /** It was cut, to begin again. */
  restarted?: boolean;
  /** The entry has left, and the disk does not have that yet: until then nothing with its key may follow. */
  unrecorded?: boolean;
}

/** A waiting entry, as far as the choice of the next one needs it. */
export interface Candidate {
  readonly id: string;
  readonly seq: number;
  readonly bytes: number;
  /** Answers in a row that did not take it. */
  readonly refusals: number;
  /** Absent where it must be read from the store. */
  readonly entry?: Entry;
}

/** What becomes of a leased entry that waits again. */
export interface Returned {
  /** ms of performance.now(). */
  notBefore: number;
  /** Answers in a row that did not take it; default: as before. */
  refusals?: number;
  /** As it is now; default: it is read from the store when its turn comes. */
  entry?: Entry | undefined;
}

/** What the destination refuses again and again. */
export interface RefusedEntries {
  /** The oldest first. */
  ids: string[];
  /** Entries that wait for one of them, since they have its key. */
  behind: number;
  /** Nothing else waits. */
  alone: boolean;
}

interface Slot extends Candidate {
  key: string;
  /** Its destination takes others. */
  stuck: boolean;
  bytes: number;
  refusals: number;
  notBefore: number;
  leased: boolean;
  entry?: Entry;
}

/** A walk through the lane from the cursor on, while it is under way. */
export interface Listing {
  /** Larger seqs are wanted. */
  readonly after: number;
  /** An older entry came back meanwhile: what the walk has not seen may be behind it. */
  stale: boolean;
  /** Entries that left meanwhile: the walk may have read them before. */
  readonly left: Set<string>;
}

export class DeliveryLedger {
  readonly gate: OrderGate;
  /** In seq order. */
  #slots: Slot[] = [];
  readonly #byId = new Map<string, Slot>();
  readonly #leases = new Map<string, Lease>();
  #inFlight = { entries: 0, bytes: 0 };
  /** Slots that have their entry. */
  #whole = 0;
  /** Larger seqs are not known yet. */
  #cursor = 0;
  /** There may be some behind the cursor. */
  #more = true;
  /** Nothing was taken away since enough was known: asking again costs nothing. */
  #enough = false;
  #listing: Listing | undefined;
  /** Entries that came back and are still being read: until then nobody knows whom they block. */
  #returning = 0;
  /** Keys of entries that were forgotten, and when the first of these could be sent. */
  #skipped: Uint8Array | undefined;
  #skippedUntil = Number.POSITIVE_INFINITY;
  readonly #changed: () => void;

  /** `changed`: called when more may be sent than before, but not from within `grant`. */
  constructor(changed: () => void) {
    this.#changed = changed;
    this.gate = new OrderGate(changed);
  }

  // What there is.

  /** Deliveries of entries that are in flight, and their bytes. */
  get inFlight(): Readonly<{ entries: number; bytes: number }> {
    return this.#inFlight;
  }

  isInFlight(id: string): boolean {
    return this.#leases.has(id);
  }

  /** Nothing is known to wait. */
  get isEmpty(): boolean {
    return this.#slots.length === 0;
  }

  get known(): number {
    return this.#slots.length;
  }

  /** Everything that the lane has is known, or was. */
  get isComplete(): boolean {
    return !this.#more && !this.#listing && !this.#skipped && this.#returning === 0;
  }

  /** How many more entries are wanted from behind the cursor; 0: none, or a walk is under way. `now`: ms. */
  wanted(now: number): number {
    if (this.#listing || !this.#more || this.#enough) return 0;
    // One that was refused may be sent, and may have to wait for all that: see retry-budget.ts.
    let sendable = 0;
    for (const { notBefore, refusals } of this.#heads())
      if (refusals === 0 && notBefore <= now && ++sendable === WINDOW) break;
    const { entries: inFlight } = this.#inFlight;
    if (this.#slots.length >= KNOWN) {
      if (sendable > 0 || inFlight > 0) return 0;
      this.#forget();
    }
    const missing = WINDOW - Math.min(this.#slots.length, sendable + inFlight);
    const wanted = Math.min(missing, KNOWN - this.#slots.length);
    this.#enough = wanted < BATCH && sendable >= BATCH;
    return this.#enough ? 0 : Math.max(0, wanted);
  }

  /** undefined: nothing is. */
  get refused(): RefusedEntries | undefined {
    const ids: string[] = [];
    const keys = new Set<string>();
    let behind = 0;
    for (const { id, key, stuck, refusals } of this.#slots) {
      if (stuck || refusals >= SHOWN_FROM) {
        ids.push(id);
        if (key !== '') keys.add(key);
      } else if (keys.has(key)) behind += 1;
    }
    if (ids.length === 0) return undefined;
    return { ids, behind, alone: this.isComplete && ids.length + behind === this.#slots.length };
  }

  // The walk along the lane.

  /** Begins a walk; only one at a time. */
  list(): Listing {
    this.#more = false;
    this.#listing = { after: this.#cursor, stale: false, left: new Set() };
    return this.#listing;
  }

  /** The next undelivered entry of the lane, in seq order. false: the walk must end, and another begin. */
  accept(listing: Listing, entry: Entry): boolean {
    if (listing.stale) return false;
    this.#cursor = entry.seq;
    if (!listing.left.has(entry.id) && !this.#byId.has(entry.id) && !this.#isSkipped(entry))
      this.#insert(this.#slotOf(entry));
    return this.#slots.length < KNOWN;
  }

  /** `complete`: the lane has no more. */
  listed(listing: Listing, complete: boolean): void {
    this.#listing = undefined;
    if (!complete || listing.stale) this.#more = true;
  }

  /** An entry was committed behind all that there are. */
  appended(): void {
    this.#more = true;
    this.#changed();
  }

  /** An entry that may be older than the cursor waits (again): `read` resolves with it, undefined where it left meanwhile. Until then
   *  nothing is granted, because nobody knows whom it blocks. Never rejects. */
  async cameBack(read: () => Promise<Entry | undefined>): Promise<void> {
    if (this.#listing) this.#listing.stale = true;
    this.#more = true;
    this.#returning += 1;
    try {
      const entry = await read();
      if (entry?.state === 'stored' || entry?.state === 'sending') this.#comesBack(entry);
    } catch {
      this.begin();
    } finally {
      this.#returning -= 1;
    }
    this.#changed();
  }

  #comesBack(entry: Entry): void {
    const before = this.#byId.get(entry.id);
    if (before?.leased) {
      this.#setEntry(before, undefined);
      return;
    }
    if (before) this.#remove(before);
    // A walk that began since may have looked before it came back.
    if (this.#listing) this.#listing.stale = true;
    if (entry.seq > this.#cursor) return;
    this.#insert(this.#slotOf(entry));
    for (
      let last = this.#slots.at(-1);
      this.#slots.length > KNOWN && last && !last.leased;
      last = this.#slots.at(-1)
    ) {
      this.#remove(last);
      this.#cursor = last.seq - 1;
    }
  }

  // Entries of which nothing can be sent now, where they are too many to be remembered.

  #forget(): void {
    this.#skipped ??= new Uint8Array(SKIPPED_BITS / 8);
    this.#slots = this.#slots.filter((slot, at) => {
      if (at < WINDOW || slot.leased) return true;
      this.#setEntry(slot, undefined);
      this.#byId.delete(slot.id);
      this.#skip(slot.key);
      this.#skippedUntil = Math.min(this.#skippedUntil, slot.notBefore);
      return false;
    });
  }

  #skip(key: string): void {
    if (key === '') return;
    const bit = crc32(key) % SKIPPED_BITS;
    this.#skipped![bit >> 3]! |= 1 << (bit & 7);
  }

  /** It has the key of one that was forgotten, which goes first. */
  #isSkipped({ orderKey }: Entry): boolean {
    if (!this.#skipped || orderKey === '') return false;
    const bit = crc32(compactKey(orderKey)) % SKIPPED_BITS;
    return (this.#skipped[bit >> 3]! & (1 << (bit & 7))) !== 0;
  }

  /** When what was forgotten is to be looked at again, ms; undefined: nothing was. */
  get again(): number | undefined {
    return this.#skipped && !this.#more && !this.#listing ? this.#skippedUntil : undefined;
  }

  /** Forgets all that waits, to be listed anew from the start of the lane. */
  begin(): void {
    for (const slot of [...this.#slots]) if (!slot.leased) this.#remove(slot);
    if (this.#listing) this.#listing.stale = true;
    this.#cursor = 0;
    this.#more = true;
    this.#skipped = undefined;
    this.#skippedUntil = Number.POSITIVE_INFINITY;
  }

  // Leases.

  /** Entries that may be sent at `now` (ms), the oldest first. They may be granted on the way. */
  *candidates(now: number): Generator<Candidate> {
    if (this.#returning > 0) return;
    for (const slot of this.#heads()) if (slot.notBefore <= now && this.gate.maySend(slot.key)) yield slot;
  }

  /** The earliest time (ms) at which one more may be sent; undefined: only the end of something else can change that. */
  nextAt(now: number): number | undefined {
    let at: number | undefined;
    for (const { notBefore } of this.#heads())
      if (notBefore > now && (at === undefined || notBefore < at)) at = notBefore;
    return at;
  }

  /** Of what is not in flight: without a key all, else the oldest of each key. Not where a newer one of the key is in flight, since an
   *  entry that came back, or has another key now, may be older than that. */
  *#heads(): Generator<Slot> {
    const keys = new Set<string>();
    if (this.#inFlight.entries > 0) for (const { leased, key } of this.#slots) if (leased) keys.add(key);
    for (const slot of this.#slots) {
      if (slot.leased) continue;
      if (slot.key !== '') {
        if (keys.has(slot.key)) continue;
        keys.add(slot.key);
      }
      yield slot;
    }
  }

  /** The delivery of a candidate begins at `now` (ms). */
  grant({ id }: Candidate, now: number): Lease {
    const slot = this.#byId.get(id);
    if (!slot || slot.leased)
      throw new Error(`entry ${id} cannot be leased: ${slot ? 'it is' : 'it does not wait'}`);
    const lease = this.claim(id, now);
    this.#lease(slot);
    return lease;
  }

  /** The delivery of a body that is no entry yet begins, or goes on while it becomes one. `now`: ms. Throws LAYBY_ENTRY_EXISTS where an
   *  entry with this id is in flight. */
  claim(id: string, now: number): Lease {
    if (this.#leases.has(id))
      throw new LaybyError('LAYBY_ENTRY_EXISTS', `Entry ${id} is being delivered already`, {
        remedy: 'Give each entry an id of its own (a UUID)',
      });
    const lease = { id, end: new AbortController(), began: now, movedAt: now };
    this.#leases.set(id, lease);
    return lease;
  }

  /** What was claimed is an entry now. */
  becomes({ id }: Lease, entry: Entry): void {
    if (!this.#leases.has(id)) throw new Error(`entry ${id} is not leased`);
    if (!this.#byId.has(id)) this.#insert(this.#slotOf(entry));
  }

  #lease(slot: Slot): void {
    if (slot.leased) return;
    this.#enough = false;
    slot.leased = true;
    const lease = this.#leases.get(slot.id);
    if (lease) lease.isEntry = true;
    this.#inFlight.entries += 1;
    this.#inFlight.bytes += slot.bytes;
  }

  #unlease(slot: Slot): void {
    if (!slot.leased) return;
    slot.leased = false;
    this.#inFlight.entries -= 1;
    this.#inFlight.bytes -= slot.bytes;
  }

  /** The delivery has ended, and the entry waits, or has left; of a claim that became no entry: it has left. */
  release({ id }: Lease, returned: Returned | 'left'): void {
    if (!this.#leases.delete(id)) throw new Error(`entry ${id} is not leased`);
    if (returned === 'left') this.#listing?.left.add(id);
    const slot = this.#byId.get(id);
    if (slot) {
      this.#unlease(slot);
      if (returned === 'left') this.#remove(slot);
      else {
        this.#enough = false;
        slot.notBefore = returned.notBefore;
        if (returned.refusals !== undefined) slot.refusals = returned.refusals;
        if (returned.entry) slot.stuck = isStuck(returned.entry.stuck);
        this.#setEntry(slot, returned.entry);
      }
    }
    this.#changed();
  }

  /** The disk has it now that the entry was delivered, or is dead. */
  recorded(id: string): void {
    const lease = this.#leases.get(id);
    if (lease?.unrecorded) this.release(lease, 'left');
  }

  /** The entry left by a rule or by an operator: a delivery in flight is aborted. */
  left(id: string): void {
    this.#listing?.left.add(id);
    const slot = this.#byId.get(id);
    if (slot) {
      this.#unlease(slot);
      this.#remove(slot);
    }
    this.#leases.get(id)?.end.abort();
    this.#changed();
  }

  /** How often pauses were ended: one that is granted while that happens has ended too. */
  wakes = 0;

  /** Every pause is over. */
  wake(): void {
    this.wakes += 1;
    for (const slot of this.#slots) slot.notBefore = 0;
    this.#skippedUntil = Math.min(this.#skippedUntil, 0);
  }

  /** The pause of one entry is over. */
  hurry(id: string): void {
    this.wakes += 1;
    const slot = this.#byId.get(id);
    if (slot) slot.notBefore = 0;
    this.#changed();
  }

  /** Where a waiting entry stands: when its pause is over (ms), and the first older one with its key. undefined: it is not known. */
  place(id: string): { notBefore: number; refusals: number; olderId?: string } | undefined {
    const slot = this.#byId.get(id);
    if (!slot) return undefined;
    const { key, seq, notBefore, refusals } = slot;
    const older = key === '' ? undefined : this.#slots.find((one) => one.key === key && one.seq < seq);
    return { notBefore, refusals, ...(older && { olderId: older.id }) };
  }

  // Slots.

  #slotOf(entry: Entry): Slot {
    const { id, seq, bytes, orderKey, attempts } = entry;
    // Of one that was forgotten nobody knows how often it was refused.
    const refusals = this.#skipped && attempts > 0 ? 1 : 0;
    const stuck = isStuck(entry.stuck);
    const key = compactKey(orderKey);
    const slot: Slot = { id, seq, bytes, key, refusals, stuck, notBefore: 0, leased: false };
    this.#setEntry(slot, entry);
    return slot;
  }

  #setEntry(slot: Slot, entry: Entry | undefined): void {
    if (slot.entry) this.#whole -= 1;
    delete slot.entry;
    if (!entry || this.#whole >= WINDOW) return;
    slot.entry = entry;
    this.#whole += 1;
  }

  #insert(slot: Slot): void {
    const after = this.#slots.findLastIndex(({ seq }) => seq < slot.seq);
    this.#slots.splice(after + 1, 0, slot);
    this.#byId.set(slot.id, slot);
    // It was claimed before its commit.
    if (this.#leases.has(slot.id)) this.#lease(slot);
  }

  #remove(slot: Slot): void {
    this.#enough = false;
    this.#setEntry(slot, undefined);
    this.#byId.delete(slot.id);
    const at = this.#slots.indexOf(slot);
    if (at >= 0) this.#slots.splice(at, 1);
  }
}
