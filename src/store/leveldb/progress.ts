// How far the delivery of an entry is, as replay notes it: a row of the index for each, opaque here. It is no part of the slot,
// which would be written anew with each part of an upload. A row whose entry has left otherwise than delivered stays: what it
// names at the destination is still to be taken back.

import type { Level } from 'level';
import type { IndexBatch } from './audit-trail.ts';
import type { Cipher } from './cipher.ts';
import { decodeProgressKey, progressKey } from './keys.ts';
import { sealSecret, unseal } from './sealed-json.ts';

export class ProgressRows {
  readonly #cipher: Cipher | undefined;
  /** Those that have a row, or will have with the next flush: bodies that are partly sent, so they are few. */
  readonly #ids = new Set<string>();
  #pending = new Map<string, unknown>();
  /** How often something was noted. */
  notes = 0;
  #inFlight: ReadonlyMap<string, unknown> = new Map();

  constructor(cipher: Cipher | undefined) {
    this.#cipher = cipher;
  }

  async load(db: Level<string, string>): Promise<void> {
    this.#ids.clear();
    for await (const key of db.keys({ gt: 'p/', lt: 'p0' })) this.#ids.add(decodeProgressKey(key));
  }

  get waiting(): number {
    return this.#pending.size;
  }

  get ids(): IterableIterator<string> {
    return this.#ids.values();
  }

  /** undefined: nothing is left to be known. */
  set(id: string, value: unknown): void {
    if (value === undefined && !this.#ids.delete(id)) return;
    if (value !== undefined) this.#ids.add(id);
    this.#pending.set(id, value);
    this.notes++;
  }

  async get(db: Level<string, string>, id: string): Promise<unknown> {
    if (!this.#ids.has(id)) return undefined;
    for (const layer of [this.#pending, this.#inFlight]) if (layer.has(id)) return layer.get(id);
    const key = progressKey(id);
    return unseal<unknown>(await db.get(key), key, this.#cipher);
  }

  /** Adds what changed to the flush. `written` or `failed` must follow. */
  write(batch: IndexBatch): void {
    this.#inFlight = this.#pending;
    this.#pending = new Map();
    for (const [id, value] of this.#inFlight) {
      const key = progressKey(id);
      if (value === undefined) batch.del(key);
      else batch.put(key, sealSecret(value, key, this.#cipher));
    }
  }

  written(): void {
    this.#inFlight = new Map();
  }

  failed(): void {
    this.#pending = new Map([...this.#inFlight, ...this.#pending]);
    this.#inFlight = new Map();
  }
}
