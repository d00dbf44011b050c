// What a try sends: the body of an entry, or one that is still on its way in. Where its bytes are is for others.

import type { Entry, Store } from '../../store/store.ts';

export interface Body {
  /** Bytes that can be read now. */
  readonly bytes: number;
  /** Bytes in all, where that is known. */
  readonly length: number | undefined;
  /** Nothing comes any more. */
  readonly whole: boolean;
  /** Names and values in turn; there when it is whole. */
  readonly trailers: readonly string[];
  /** Lower-case hex, where it is known. */
  readonly md5: string | undefined;
  /** Resolves when so many bytes can be read, or it is whole. Rejects where `signal` is aborted before. */
  reaches(bytes: number, signal: AbortSignal): Promise<void>;
  /** `start` inclusive, `end` exclusive, bytes; pieces of at most 1 MiB. Rejects with what keeps it: LAYBY_ENTRY_DAMAGED,
   *  LAYBY_ENTRY_UNKNOWN, LAYBY_STORE_FULL. */
  read(range?: { start?: number; end?: number }): AsyncIterable<Buffer>;
  /** A try begins to send it. */
  begun(): void;
}

/** Of an entry. */
export const storedBody = (store: Store, entry: Entry): Body => ({
  ...{ bytes: entry.bytes, length: entry.bytes, whole: true, trailers: entry.trailers, md5: entry.md5 },
  reaches: async () => {},
  read: (range) => store.read(entry, range),
  begun: () => store.sent(entry),
});
