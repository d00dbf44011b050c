// A body on its way into the store, which replay may send as it grows: hours of it need not wait for the last byte.

import type { Follower, UnderWay } from '../replay/follow.ts';
import type { Entry, EntryHead, EntryWriter, Store } from '../store/store.ts';
import { StreamingBody } from './streaming-body.ts';

/** A body that comes faster is sent when it is whole, ms. */
const FOLLOW_AFTER_MS = 1_000;
/** While it grows replay is reminded of it so often, ms: not all that it may have to wait for is told. */
const REMIND_EVERY_MS = 1_000;

export interface Following {
  /** undefined: nothing is replayed for its destination now. */
  follow: (body: StreamingBody) => Follower | undefined;
  /** It may have to wait no longer. */
  remind: () => void;
  /** See Replay.grows. */
  grows: () => () => void;
}

export class FollowedWriter implements EntryWriter {
  readonly #writer: EntryWriter;
  readonly #expected: number | undefined;
  readonly #following: Following;
  #body: StreamingBody | undefined;
  #follower: Follower | undefined;
  #grown: (() => void) | undefined;
  #lookAt = performance.now() + FOLLOW_AFTER_MS;

  /** `expected`: bytes in all, where the app said it. */
  constructor(writer: EntryWriter, expected: number | undefined, following: Following) {
    this.#writer = writer;
    this.#expected = expected;
    this.#following = following;
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

  write(piece: Buffer): Promise<void> | undefined {
    if (performance.now() >= this.#lookAt) this.#look();
    this.#body?.grew();
    return this.#writer.write(piece);
  }

  #look(): void {
    this.#lookAt = performance.now() + REMIND_EVERY_MS;
    if (this.#follower) {
      this.#following.remind();
      return;
    }
    const writer = this.#writer;
    const kept = {
      get bytes() {
        return writer.kept;
      },
      read: (range: { start?: number; end?: number }) => writer.read(range),
    };
    const body = new StreamingBody(kept, this.#expected);
    this.#follower = this.#following.follow(body);
    if (!this.#follower) return;
    this.#body = body;
    this.#grown = this.#following.grows();
  }

  /** The body has come to its end: what is under way of it is for its entry. Nothing new is begun before that is in the store. */
  handOver(): UnderWay | undefined {
    return this.#follower?.handOver();
  }

  async commit(trailers?: string[]): Promise<Entry> {
    try {
      return await this.#writer.commit(trailers);
    } finally {
      this.#grown?.();
    }
  }

  /** What is under way reads the rest from the entry. */
  goOn(entry: Entry, store: Store): void {
    const read = (range: { start?: number; end?: number }) => store.read(entry, range);
    this.#body?.end(entry.trailers, { bytes: entry.bytes, read });
  }

  async abort(): Promise<void> {
    await this.#follower?.abort();
    await this.#writer.abort();
    this.#grown?.();
  }
}
