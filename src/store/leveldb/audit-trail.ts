// What became of entries, for people: a bounded list of lines, kept in the index in blocks of one flush each, so that a
// thousand events cost one key. It decides what to write; entry-index.ts writes it together with everything else.

import type { Level } from 'level';
import type { StoreEvent } from '../store.ts';
import type { Cipher } from './cipher.ts';
import { auditKey, decodeAuditKey } from './keys.ts';
import { sealSecret, unseal, unsealText } from './sealed-json.ts';

/** Lines kept; older ones fall out by whole blocks. */
const LINES = 100_000;
/** Tries of an entry that all have a line; of later ones those whose number is a power of two. */
const EACH_TRY = 8;

/** Whether a try has a line: 3,600 of them have 16. By number alone, since a link that flaps fails in more than one way. */
export const tryHasLine = (number: number): boolean =>
  number <= EACH_TRY || Number.isInteger(Math.log2(number));

/** Of LevelDB's chained batch. */
export interface IndexBatch {
  put(key: string, value: string): unknown;
  del(key: string): unknown;
}

export class AuditTrail {
  readonly #cipher: Cipher | undefined;
  #pending: StoreEvent[] = [];
  #inFlight: StoreEvent[] = [];
  /** The number of the first line of each block on disk. */
  #blocks: number[] = [];
  #next = 1;

  constructor(cipher: Cipher | undefined) {
    this.#cipher = cipher;
  }

  async load(db: Level<string, string>): Promise<void> {
    this.#blocks = [];
    for await (const key of db.keys({ gt: 'a/', lt: 'a0' })) this.#blocks.push(decodeAuditKey(key));
    const last = this.#blocks.at(-1);
    if (last === undefined) return;
    const lines = unseal<StoreEvent[]>(await db.get(auditKey(last)), auditKey(last), this.#cipher);
    this.#next = last + Math.max(1, lines?.length ?? 1);
  }

  append(event: StoreEvent): void {
    this.#pending.push(event);
  }

  get waiting(): number {
    return this.#pending.length;
  }

  /** Adds what the trail has to the flush. `written` or `failed` must follow. */
  write(batch: IndexBatch): void {
    this.#inFlight = this.#pending;
    this.#pending = [];
    if (this.#inFlight.length === 0) return;
    const key = auditKey(this.#next);
    batch.put(key, sealSecret(this.#inFlight, key, this.#cipher));
    const end = this.#next + this.#inFlight.length;
    for (const [i, first] of this.#blocks.entries()) {
      const blockEnd = this.#blocks[i + 1] ?? this.#next;
      if (blockEnd > end - LINES) break;
      batch.del(auditKey(first));
    }
  }

  written(): void {
    if (this.#inFlight.length === 0) return;
    this.#blocks.push(this.#next);
    this.#next += this.#inFlight.length;
    this.#inFlight = [];
    while (this.#blocks.length > 1 && this.#blocks[1]! <= this.#next - LINES) this.#blocks.shift();
  }

  failed(): void {
    this.#pending = [...this.#inFlight, ...this.#pending];
    this.#inFlight = [];
  }

  /** Lines of one id, or of every id that was stored with a URL that contains `url`. A hundred thousand lines are a few
   *  thousand blocks: those that cannot hold a match are passed over as text, in about 50 ms for all, without an index. */
  async *read(
    db: Level<string, string>,
    { id, url }: { id?: string; url?: string },
  ): AsyncGenerator<StoreEvent> {
    // The iterator's snapshot and these lines belong to one moment.
    const unwritten = [...this.#inFlight, ...this.#pending];
    const ids = new Set(id === undefined ? [] : [id]);
    const every = id === undefined && url === undefined;
    const wanted = (line: StoreEvent): boolean => {
      if (url !== undefined && line.url?.includes(url)) ids.add(line.id);
      return every || ids.has(line.id);
    };
    const part = url === undefined ? undefined : JSON.stringify(url).slice(1, -1);
    for await (const [key, value] of db.iterator({ gt: 'a/', lt: 'a0' })) {
      const json = unsealText(value, key, this.#cipher);
      if (json === undefined) continue;
      const may =
        every || (part !== undefined && json.includes(part)) || [...ids].some((one) => json.includes(one));
      if (may) yield* (JSON.parse(json) as StoreEvent[]).filter(wanted);
    }
    yield* unwritten.filter(wanted);
  }
}
