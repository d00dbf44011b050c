// Room for what comes in: the quota of each destination, the longest body that it takes, and the disk of the store. Where there is none, the rule of the
// destination that wants it decides: refuse, or evict what is of a lower class. How much the disk takes is the store's to say.

import type { Destination } from '../policy/policy.ts';
import { longestBody, tooLongToSign } from '../policy/signature.ts';
import type { Entry, EntryHead, EntryWriter, Store, WriterOptions } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import { abortable } from './client-signal.ts';

/** Evictions that share a flush. */
const TOGETHER = 64;

interface Arrival {
  destination: Destination;
  class: number;
  /** Of the request: nothing more is evicted for it once it is aborted. */
  signal: AbortSignal | undefined;
}

export interface RoomOptions extends WriterOptions {
  signal?: AbortSignal;
}

export class Room {
  readonly #store: Store;
  /** Bytes on their way in, by destination: declared ones, and what came beyond. */
  readonly #coming = new Map<string, number>();
  /** Bytes that were let in and that the store does not count yet. */
  #admitted = 0;
  /** One eviction at a time, or two arrivals would each evict for both. */
  #evicting: Promise<unknown> = Promise.resolve();

  constructor(store: Store) {
    this.#store = store;
  }

  /** `store.begin` behind the rules. `expected`: body length, bytes, where known. Errors: LAYBY_STORE_FULL and LAYBY_BODY_TOO_LONG, before a byte
   *  is taken or, for a body of unknown length, from `write`; and those of the store. Rejects with the signal's reason where it is aborted while
   *  room is made; then nothing is reserved. */
  async begin(
    destination: Destination,
    head: EntryHead,
    expected?: number,
    { signal, ...options }: RoomOptions = {},
  ): Promise<EntryWriter> {
    const arrival = { destination, class: head.class, signal };
    const declared = expected ?? 0;
    this.#bounded(arrival, declared);
    await this.#admit(arrival, declared);
    try {
      return new RoomyWriter(await this.#store.begin(head, expected, options), declared, {
        grow: (bytes, whole) => {
          this.#bounded(arrival, whole);
          return this.#grow(arrival, bytes);
        },
        left: (bytes) => this.#come(destination.name, -bytes),
      });
    } catch (error) {
      this.#come(destination.name, -declared);
      throw error;
    } finally {
      this.#admitted -= declared;
    }
  }

  #come(destination: string, bytes: number): void {
    const coming = (this.#coming.get(destination) ?? 0) + bytes;
    if (coming > 0) this.#coming.set(destination, coming);
    else this.#coming.delete(destination);
  }

  /** Throws LAYBY_BODY_TOO_LONG. */
  #bounded({ destination }: Arrival, bytes: number): void {
    if (bytes > (longestBody(destination) ?? bytes))
      throw new LaybyError('LAYBY_BODY_TOO_LONG', tooLongToSign(destination));
  }

  /** `bytes` more than declared; 0 asks whether what was declared still fits. undefined where all is well. */
  #grow(arrival: Arrival, bytes: number): Promise<void> | undefined {
    const { name } = arrival.destination;
    if (this.#overQuota(arrival, bytes) <= 0 && !(this.#mayEvict(arrival) && this.#lacking(bytes) > 0)) {
      this.#come(name, bytes);
      return undefined;
    }
    return this.#admit(arrival, bytes).then(() => {
      this.#admitted -= bytes;
    });
  }

  /** Bytes by which `more` would pass the destination's quota. */
  #overQuota({ destination: { name, store } }: Arrival, more: number): number {
    if (store.quota === undefined || more === 0) return 0;
    const held = this.#store.totals().get(name)?.held ?? 0;
    return held + (this.#coming.get(name) ?? 0) + more - store.quota;
  }

  #mayEvict({ destination, class: cls }: Arrival): boolean {
    return destination.store.whenFull === 'evict' && cls > 0;
  }

  #lacking(bytes: number): number {
    return this.#store.lacking(bytes + this.#admitted);
  }

  /** Resolves when `bytes` more fit, or are the store's to refuse; they count as coming and as admitted by then. */
  async #admit(arrival: Arrival, bytes: number): Promise<void> {
    if (this.#overQuota(arrival, bytes) <= 0 && this.#lacking(bytes) <= 0) return this.#let(arrival, bytes);
    if (!this.#mayEvict(arrival)) {
      this.#refuseOverQuota(arrival, bytes);
      return this.#let(arrival, bytes);
    }
    const before = this.#evicting;
    const turn = (async () => {
      await (arrival.signal ? abortable(before, arrival.signal) : before);
      await this.#makeRoom(arrival, bytes);
    })();
    this.#evicting = Promise.allSettled([before, turn]);
    await turn;
  }

  #let({ destination }: Arrival, bytes: number): void {
    this.#come(destination.name, bytes);
    this.#admitted += bytes;
  }

  async #makeRoom(arrival: Arrival, bytes: number): Promise<void> {
    const { name } = arrival.destination;
    const over = this.#overQuota(arrival, bytes);
    if (over > 0) await this.#evict(arrival, over, `the quota of ${name} is full`, name);
    arrival.signal?.throwIfAborted();
    this.#refuseOverQuota(arrival, bytes);
    const whole = () => bytes + this.#admitted;
    let lacking = await this.#store.makeRoom(whole());
    // What is evicted gives disk back only when enough of its surroundings is gone too, so each round asks for more.
    for (let more = 1; lacking > 0; more *= 2) {
      arrival.signal?.throwIfAborted();
      const evicted = await this.#evict(arrival, lacking * more, 'the store is full');
      if (evicted === 0) break; // the store refuses in its own words
      lacking = await this.#store.makeRoom(whole());
    }
    arrival.signal?.throwIfAborted();
    this.#let(arrival, bytes);
  }

  /** Resolves with the bytes that went. */
  async #evict(arrival: Arrival, bytes: number, why: string, only?: string): Promise<number> {
    const { destination, class: cls } = arrival;
    const rule = `${why}; ${destination.name} may evict entries of a lower class (${destination.store.class})`;
    let chosen = 0;
    let evicted = 0;
    let together: Promise<number>[] = [];
    const settle = async (): Promise<void> => {
      for (const held of await Promise.all(together)) evicted += held;
      together = [];
      chosen = evicted; // one that is being sent by now stays
    };
    for await (const { id, held } of this.#store.evictable(cls, only)) {
      chosen += held;
      together.push(this.#store.drop(id, 'evicted', rule).then((gone) => (gone ? held : 0)));
      if (chosen >= bytes || together.length === TOGETHER) await settle();
      if (evicted >= bytes || arrival.signal?.aborted) break;
    }
    await settle();
    return evicted;
  }

  #refuseOverQuota(arrival: Arrival, bytes: number): void {
    const over = this.#overQuota(arrival, bytes);
    if (over <= 0) return;
    const { name, store } = arrival.destination;
    throw new LaybyError(
      'LAYBY_STORE_FULL',
      `The quota of ${name} is ${store.quota} bytes; this request would pass it by ${over}`,
      { remedy: 'Wait until replay has made room, drop entries, or raise the quota' },
    );
  }
}

interface Growth {
  /** `bytes` more than declared; `whole`: the body as far as it is here then. */
  grow(bytes: number, whole: number): Promise<void> | undefined;
  left(bytes: number): void;
}

/** A writer that asks for room before each piece. */
class RoomyWriter implements EntryWriter {
  readonly #writer: EntryWriter;
  readonly #room: Growth;
  /** Bytes that were declared and have not come yet. */
  #declared: number;
  /** Bytes that are counted as coming. */
  #counted: number;

  constructor(writer: EntryWriter, declared: number, room: Growth) {
    this.#writer = writer;
    this.#declared = declared;
    this.#counted = declared;
    this.#room = room;
  }

  get head(): EntryHead {
    return this.#writer.head;
  }

  get bytes(): number {
    return this.#writer.bytes;
  }

  get kept(): number {
    return this.#writer.kept;
  }

  read(range?: { start?: number; end?: number }): AsyncIterable<Buffer> {
    return this.#writer.read(range);
  }

  async write(piece: Buffer): Promise<void> {
    const beyond = Math.max(0, piece.length - this.#declared);
    this.#declared -= piece.length - beyond;
    try {
      await this.#room.grow(beyond, this.bytes + piece.length);
      this.#counted += beyond;
      await this.#writer.write(piece);
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  async commit(trailers?: string[]): Promise<Entry> {
    try {
      return await this.#writer.commit(trailers);
    } finally {
      this.#leave(); // from here on the store counts it
    }
  }

  async abort(): Promise<void> {
    this.#leave();
    await this.#writer.abort();
  }

  #leave(): void {
    this.#room.left(this.#counted);
    this.#counted = 0;
  }
}
