// Whether the name of LevelDB's log is on the disk. LevelDB syncs what it writes into a log, and not the directory when it turns
// to a new one; ext4, XFS, Btrfs and F2FS keep the name of a new file that is fsynced all the same, POSIX does not promise it.
// Without the name a synced batch is gone after a power cut, so nobody is told of one before the directory is synced too.

import { readdirSync } from 'node:fs';
import { syncDirectory } from './directory.ts';

/** What LevelDB keeps in memory for a key beside its bytes, at least as much: it makes the look-up come earlier, never later. */
const KEY_OVERHEAD = 64;

export class LogNames {
  readonly #dir: string;
  readonly #quiet: number;
  #bytes = 0;
  #newest: string | undefined;

  /** LevelDB turns to a new log when its memory table has `writeBufferSize` bytes; before half of that nobody looks. */
  constructor(dir: string, writeBufferSize: number) {
    this.#dir = dir;
    this.#quiet = writeBufferSize / 2;
  }

  /** After LevelDB has opened the directory: all names in it are on the disk when this resolves. */
  async opened(): Promise<void> {
    this.#bytes = 0;
    this.#newest = this.#lookUp();
    await syncDirectory(this.#dir);
  }

  /** After each synced batch of so many keys, with this many bytes in keys and values. */
  async wrote(keys: number, bytes: number): Promise<void> {
    this.#bytes += bytes + keys * KEY_OVERHEAD;
    if (this.#bytes < this.#quiet) return;
    const newest = this.#lookUp();
    if (newest === this.#newest) return;
    await syncDirectory(this.#dir);
    this.#newest = newest;
    this.#bytes = 0;
  }

  /** Synchronous: ten names are there in 10 µs, and a thread's turn is ten times that, on the way of each receipt. */
  #lookUp(): string | undefined {
    // LevelDB writes numbers with at least six digits.
    const logs = readdirSync(this.#dir).filter((name) => name.endsWith('.log'));
    return logs.sort((a, b) => a.length - b.length || (a < b ? -1 : 1)).at(-1);
  }
}
