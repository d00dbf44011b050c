// The contract of a store: what the queue, replay and the console may rely on. src/store/leveldb is the implementation that
// ships; any other must pass the suite in src/store/conformance.ts. The store knows entries and bytes; what a
// destination is and when something is sent is for others.

/** `stored`: waits. `sending`: it waits and a delivery of it is in flight, so says `InFlight`; never persisted. `staged`: a part of an entry
 *  to come, kept and not sent. `dead`: refused for good, kept for an operator. `quarantined`: damaged on disk, kept with the
 *  reason, never sent. */
export type EntryState = 'stored' | 'sending' | 'staged' | 'dead' | 'quarantined';

/** What is known of a request before its body is read. */
export interface EntryHead {
  /** A UUID, also the idempotency key. */
  id: string;
  destination: string;
  method: string;
  /** What the app called: `http://authority/path?query`, byte for byte. */
  url: string;
  /** Names and values in turn, in the order and case of the app, end-to-end ones only. */
  headers: string[];
  /** Entries with the same destination and order key are delivered in the order of their receipts; '' where order is none. */
  orderKey: string;
  /** 0 is the lowest class. */
  class: number;
  /** Wall clock, ms since the epoch: for people, never for arithmetic. */
  receivedAt: number;
  /** The policy's time to live, ms from the commit by the store's clock; undefined: for ever. */
  ttl?: number;
  /** What rules of the policy know its app by, and the path that they judge where that is not the URL's. */
  apps?: string[];
  judgedPath?: string;
  /** It is staged: not sent until `compose` makes an entry of what this group holds. */
  group?: string;
}

/** When an entry was committed, by a clock that no one can set: what a time to live is counted from. */
export interface Commit {
  /** The kernel's boot id: `uptime` compares only within one boot. */
  bootId: string;
  /** CLOCK_MONOTONIC, ms. */
  uptime: number;
  /** The store's own time, ms: powered-on time since the store was made, over all boots. */
  clock?: number;
}

/** An entry whose commit is on the disk. */
export interface Entry extends EntryHead {
  /** Position in the order of receipts, over all destinations; without gaps; from 1. */
  seq: number;
  /** Body length, bytes. */
  bytes: number;
  /** SHA-256 of the body, lower-case hex. Of an entry composed of N parts, whose bytes nobody read for it: that of their
   *  SHA-256s in turn, and `-N`. */
  sha256: string;
  /** MD5 of the body, lower-case hex; only where the writer was asked for it. Of a composed one: that of the parts' MD5s, and `-N`. */
  md5?: string;
  /** Names and values in turn, as sent after a chunked body. */
  trailers: string[];
  state: EntryState;
  /** Tries so far. */
  attempts: number;
  lastError?: string;
  /** The destination refuses it and takes others. Absent where that is not known. */
  stuck?: Stuck;
  /** Why it is dead or quarantined. */
  reason?: string;
  /** Of a dead letter, where the destination's own answer made it one. */
  answer?: KeptAnswer;
  /** Absent only where the record itself is damaged (quarantined). */
  committed?: Commit;
}

/** How often and for how long a destination has refused an entry while it took others. */
export interface Stuck {
  /** When the first such answer came; wall clock, ms since the epoch: for people. */
  since: number;
  /** Such answers. */
  answers: number;
  /** The part of the policy's `replay.retry.giveUpAfter` that has passed, ms of powered-on time. */
  counted: number;
}

/** What a destination answered, as far as it is kept for an operator. */
export interface KeptAnswer {
  status: number;
  /** Names and values in turn, as received. */
  headers: string[];
  /** Its first bytes. */
  body: Buffer;
}

/** What an operator changes of a dead letter or of an entry that waits; what is left out stays. */
export interface EntryEdit {
  url?: string;
  /** All of them, names and values in turn. */
  headers?: string[];
  orderKey?: string;
  judgedPath?: string;
  /** What was begun at the destination does not fit any more: it is given up, and the next attempt starts from the first byte. */
  restart?: boolean;
}

/** Where an entry goes that another destination is to deliver. */
export interface EntryMove {
  /** The destination that it has now. */
  from: string;
  destination: string;
  /** By the order of the new destination. */
  orderKey: string;
  /** As the new destination spells it, where that differs. */
  url?: string;
  judgedPath?: string;
}

/** What rules about leaving need to know of an entry. */
export interface EntryBrief {
  id: string;
  seq: number;
  destination: string;
  class: number;
  state: EntryState;
  /** Body and record, bytes: what goes with it. */
  held: number;
  /** ms, where its time to live is limited. */
  ttl?: number;
}

export interface WriterOptions {
  /** Nobody else looks at the pieces after `write`: their memory is given back when they are copied, without waiting for the
   *  garbage collector, which sees it late. */
  owned?: boolean;
  /** Also compute MD5 (the S3 receipt needs it). */
  md5?: boolean;
}

/** One body on its way in. Exactly one of commit and abort ends it. */
export interface EntryWriter {
  readonly head: EntryHead;
  /** Bytes written so far. */
  readonly bytes: number;
  /** Bytes of them that `read` can give: a moment behind. */
  readonly kept: number;
  /** What is kept, as Store.read gives it, also while it is committed; then the entry is to be read instead. Rejects with
   *  LAYBY_ENTRY_DAMAGED before a wrong byte leaves, and with LAYBY_WRITER_ENDED after an abort. */
  read(range?: { start?: number; end?: number }): AsyncIterable<Buffer>;
  /** Takes a piece of the body; the store owns the buffer from then on. A promise resolves when the next piece may come, which
   *  is the back-pressure that bounds memory; undefined: it may come at once. Rejects with LAYBY_STORE_FULL or
   *  LAYBY_STORE_FAILED; the writer is then aborted. Never throws. */
  write(piece: Buffer): Promise<void> | undefined;
  /** Resolves after the fsync that makes the whole entry safe, and not before (law 1). Rejects with LAYBY_ENTRY_EXISTS (the id
   *  is stored), LAYBY_STORE_FAILED or LAYBY_STORE_FULL; the writer is then over. */
  commit(trailers?: string[]): Promise<Entry>;
  /** Leaves nothing behind. Never rejects; harmless after the end. */
  abort(): Promise<void>;
}

/** Whether a delivery of the entry is in flight. A store is opened with it: replay's ledger owns that knowledge, the store asks for it. */
export type InFlight = (id: string) => boolean;

export interface ListOptions {
  destination?: string;
  /** `undelivered`: stored or sending. */
  state?: EntryState | 'undelivered';
  /** Only entries with a larger seq. */
  after?: number;
  limit?: number;
}

/** Live entries of one destination (dead, staged and quarantined ones are counted apart). */
export interface Totals {
  entries: number;
  bytes: number;
  dead: number;
  staged: number;
  quarantined: number;
  /** Bytes of bodies and records, whatever the state: what a quota of the destination counts. */
  held: number;
  /** seq and receivedAt of the first entry that still waits. */
  oldest?: { seq: number; id: string; receivedAt: number };
}

export type StoreEventKind =
  | 'stored'
  /** It is a part of an entry now; the detail says of which. */
  | 'composed'
  | 'sent'
  | 'delivered'
  | 'dead'
  | 'retried'
  | 'edited'
  /** To another destination; `from` says which one it had. */
  | 'moved'
  | 'dropped'
  | 'expired'
  | 'evicted'
  | 'quarantined';

/** One line of the audit trail. */
export interface StoreEvent {
  kind: StoreEventKind;
  id: string;
  seq: number;
  destination: string;
  /** Of `moved` only: the destination before. */
  from?: string;
  bytes: number;
  /** Wall clock, ms since the epoch. */
  at: number;
  /** Why, in words; the rule for a drop, the status for a delivery, which try for `sent`. */
  detail?: string;
  /** What the app asked for; of `stored` only. */
  method?: string;
  url?: string;
}

/** What opening, or reading since, found wrong. Nothing in it was deleted. Where neither id nor seq is known, the reason names the file. */
export interface Damage {
  /** The entry, or undefined where only its number is known. */
  id?: string;
  seq?: number;
  reason: string;
}

/** Copies of damaged files, which the store keeps until an operator discards them. */
export interface SetAsideTotals {
  copies: number;
  /** What the disk would get back. */
  bytes: number;
}

export interface OpenReport {
  /** ms. */
  took: number;
  entries: number;
  /** Bodies that had no commit when the process ended: they never had a receipt. */
  abandoned: number;
  /** Grows when more is found while the store is open. */
  damage: Damage[];
  /** As it was when the store was open. */
  setAside: SetAsideTotals;
}

/** What changes an entry (failed, setProgress, delivered, dead, retry, drop) rejects with LAYBY_STORE_FAILED where the disk did not take it:
 *  the change stands all the same and is tried again, so nothing is to be repeated; only a crash before that would undo it. */
export interface Store {
  readonly report: OpenReport;
  /** Errors: LAYBY_STORE_FULL (nothing was taken), LAYBY_ENTRY_EXISTS, LAYBY_STORE_CLOSED. `expected` is the
   *  body length in bytes where known. */
  begin(head: EntryHead, expected?: number, options?: WriterOptions): Promise<EntryWriter>;
  get(id: string): Promise<Entry | undefined>;
  /** The body, each chunk verified; `start` inclusive, `end` exclusive, bytes. Rejects with LAYBY_ENTRY_DAMAGED before a wrong
   *  byte leaves (the entry is quarantined by then), or LAYBY_ENTRY_UNKNOWN. Pieces are at most 1 MiB. */
  read(entry: Entry, range?: { start?: number; end?: number }): AsyncIterable<Buffer>;
  /** In seq order. Memory does not grow with the number of entries. */
  list(options?: ListOptions): AsyncIterable<Entry>;
  /** Entries that wait or are being sent for the resource of this URL (resource.ts), whatever their method, the newest first. */
  waitingFor(destination: string, url: string): AsyncIterable<Entry>;
  /** Whether something waits for the resource of this URL, or has left it so lately that a crash would bring it back. false
   *  without a promise, and without a look at the disk, for nearly all resources that nothing waits for. */
  occupied(destination: string, url: string): Promise<boolean> | false;
  /** What is staged in a group, the newest first. */
  staged(destination: string, group: string): AsyncIterable<Entry>;
  /** One entry whose body is those of `parts`, entries staged in `group`, in this order; not a byte is copied. Everything else in
   *  the group leaves with them. Resolves after the fsync that makes all of it so, or nothing (law 1). Rejects with LAYBY_ENTRY_UNKNOWN (a part is
   *  not staged there), LAYBY_ENTRY_EXISTS, LAYBY_STORE_FAILED or LAYBY_STORE_FULL; the group is then as it was. */
  compose(head: EntryHead, group: string, parts: readonly string[]): Promise<Entry>;
  /** Counted while storing, not by scanning. */
  totals(): ReadonlyMap<string, Totals>;
  /** A try has begun to send the body. Told at once, on the disk a moment later: nobody waits for it. The trail has a line for
   *  the first tries of an entry and then for fewer and fewer, or a link that flaps for an hour would push out all else. */
  sent(entry: Entry): void;
  /** Persists a failed try: attempts, lastError and, where it is given, `stuck`. The entry waits again. What is known as `stuck` is forgotten
   *  when the entry gets another head, another destination, or waits again after it was dead. */
  failed(id: string, lastError: string, stuck?: Stuck): Promise<Entry | undefined>;
  /** The destination took it: it leaves the store. Durable when resolved. */
  delivered(id: string, detail: string): Promise<void>;
  /** What was noted of a delivery that has begun, or undefined. */
  progress(id: string): Promise<unknown>;
  /** Notes how far a delivery is: small JSON that the store does not look into; undefined: there is nothing to know any more.
   *  Durable when resolved; a lost index forgets it. It goes in the same moment as the entry where that is delivered, and stays
   *  where the entry leaves otherwise. Rejects with LAYBY_STORE_FAILED, like the other changes. */
  setProgress(id: string, value: unknown): Promise<void>;
  /** Progress of entries that do not wait any more, dead ones included: what they began at a destination can be taken back. */
  leftBehind(): AsyncIterable<{ id: string; progress: unknown }>;
  /** Refused for good: kept as a dead letter, with what the destination answered. */
  dead(id: string, reason: string, answer?: KeptAnswer): Promise<void>;
  /** A dead letter waits again, at its old place, with attempts 0; its time to live begins anew. `detail`: by whose hand. */
  retry(id: string, detail?: string): Promise<boolean>;
  /** A dead letter, or an entry that waits, gets another head; id, seq, body and state stay, and the body is not written again.
   *  `detail` says what was changed and by whose hand, for the audit trail. Durable when resolved; listeners hear `edited` in the
   *  turn of the change, since an attempt that begins later must use the new head. false where the entry is neither, and while it
   *  is being sent. Rejects with LAYBY_STORE_FULL, or LAYBY_STORE_FAILED where the new record could not be written: nothing is
   *  changed then. */
  edit(id: string, edit: EntryEdit, detail: string): Promise<boolean>;
  /** An entry that waits, a staged one or a dead letter gets another destination, at the place that its seq gives it there; all else
   *  stays, and the body is not written again. After a crash at any moment it has the one destination or the other. What was begun at the
   *  destination before is given up. Durable when resolved; listeners hear `moved` in the turn of the change. false where it is not at
   *  `from`, is quarantined, or is being sent. Rejects as `edit` does. */
  move(id: string, to: EntryMove, detail: string): Promise<boolean>;
  /** Leaves by a rule or by an operator's hand; false where it is not there. A rule (`expired`, `evicted`) does not take an
   *  entry that is being sent: false too. */
  drop(id: string, kind: 'dropped' | 'expired' | 'evicted', rule: string): Promise<boolean>;
  /** How long it has been stored, ms of powered-on time: wall clocks and time in a parked, switched-off machine do not count. */
  age(entry: Entry): number;
  /** Entries that wait or are staged beyond their time to live, the longest overdue first; none that is being sent. */
  expired(): AsyncIterable<EntryBrief>;
  /** Waiting, staged and dead entries of a class lower than `below`, the lowest class first, of one class the oldest first; none that
   *  is being sent. Those of one destination, or of all. */
  evictable(below: number, destination?: string): AsyncIterable<EntryBrief>;
  /** Bytes by which `more` do not fit now, 0 where they do. An estimate that costs nothing. */
  lacking(more: number): number;
  /** Gives back to the disk all that can be, until `more` bytes fit; resolves with the bytes that are lacking still. */
  makeRoom(more: number): Promise<number>;
  /** Bytes on the disk, all files but what is kept for a full disk. */
  physicalBytes(): Promise<number>;
  /** What damage has left on the disk; no quota counts it, and nothing but an operator removes it. */
  setAside(): Promise<SetAsideTotals>;
  /** What became of entries, oldest first: of one, or of those whose URL contains `url`. Bounded, so old lines fall out. */
  audit(of?: { id?: string; url?: string }): AsyncIterable<StoreEvent>;
  on(event: 'event', listener: (event: StoreEvent) => void): void;
  off(event: 'event', listener: (event: StoreEvent) => void): void;
  /** Waits for what is under way, then closes. */
  close(): Promise<void>;
}
