// What is kept of a body that is cut through, in case the upload fails: the contract. disk-spool.ts is the implementation.

/** All spools of a queue. */
export interface Spools {
  begin(): Spool;
}

/** One body. */
export interface Spool {
  /** Bytes that were given to it. */
  readonly bytes: number;
  /** Takes a chunk; nobody may change it. A promise resolves when the next may come; undefined: at once. Never rejects: a disk that
   *  takes no more is told by `read`, where it matters. */
  write(chunk: Buffer): Promise<void> | undefined;
  /** What was given to it so far, in new buffers; `start` inclusive, `end` exclusive, bytes. Rejects with LAYBY_STORE_FULL where the
   *  disk did not take it. */
  read(range?: { start?: number; end?: number }): AsyncIterable<Buffer>;
  /** Gives its disk and memory back. Never rejects; harmless a second time. */
  close(): Promise<void>;
}
