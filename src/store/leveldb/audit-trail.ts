// What became of entries, for people: a bounded list of lines, kept in the index in blocks of one flush each, so that a
// thousand events cost one key. It decides what to write; entry-index.ts writes it together with everything else.

import type { Level } from 'level';
import type { StoreEvent } from '../store.ts';
import { auditKey, decodeAuditKey } from './keys.ts';
import { seal, unseal } from './sealed-json.ts';

/** Lines kept; older ones fall out by whole blocks. */
const LINES = 100_000;

/** Of LevelDB's chained batch. */
export interface IndexBatch {
  put(key: string, value: string): unknown;
  del(key: string): unknown;
}

export class AuditTrail {
  #pending: StoreEvent[] = [];
  #inFlight: StoreEvent[] = [];
  /** The number of the first line of each block on disk. */
  #blocks: number[] = [];
  #next = 1;

  async load(db: Level<string, string>): Promise<void> {
    this.#blocks = [];
    for await (const key of db.keys({ gt: 'a/', lt: 'a0' })) this.#blocks.push(decodeAuditKey(key));
    const last = this.#blocks.at(-1);
    if (last === undefined) return;
    const lines = unseal<StoreEvent[]>(await db.get(auditKey(last)));
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
    batch.put(auditKey(this.#next), seal(this.#inFlight));
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

  async *read(db: Level<string, string>, id?: string): AsyncGenerator<StoreEvent> {
    // The iterator's snapshot and these lines belong to one moment.
    const unwritten = [...this.#inFlight, ...this.#pending];
    for await (const value of db.values({ gt: 'a/', lt: 'a0' }))
      for (const line of unseal<StoreEvent[]>(value) ?? []) if (!id || line.id === id) yield line;
    for (const line of unwritten) if (!id || line.id === id) yield line;
  }
}
