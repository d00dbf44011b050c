// A file that is thrown overboard when the disk is full. LevelDB cannot open a database, nor take a delete, without some
// room; without these bytes a store on a full disk could neither start nor be drained. Made only where the disk is near
// its end; it counts to the reserve of the disk, not to what the store holds.

import { open, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

/** What LevelDB writes at most to open the index and one generation again: their memory tables, and the files around them. */
export const BALLAST_BYTES = 16 * 1024 * 1024;
/** With more than this free there is no need yet, bytes. */
const NEAR_THE_END = 1024 * 1024 * 1024;
const PIECE = Buffer.alloc(1024 * 1024);

export const freeBytes = async (dir: string): Promise<number> => {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
};

export class Ballast {
  readonly #path: string;
  readonly #dir: string;
  #present = false;
  #dropped = false;
  #making: Promise<void> | undefined;

  constructor(dir: string) {
    this.#dir = dir;
    this.#path = join(dir, 'ballast');
  }

  /** Takes stock; where the disk is full, makes room for what opening has to write. */
  async load(): Promise<void> {
    await rm(`${this.#path}.new`, { force: true });
    this.#present = ((await stat(this.#path).catch(() => undefined))?.size ?? 0) >= BALLAST_BYTES;
    if ((await freeBytes(this.#dir)) < BALLAST_BYTES) await this.drop();
  }

  get bytes(): number {
    return this.#present ? BALLAST_BYTES : 0;
  }

  /** Bytes that it gave to the disk, for opening again and for nothing else. */
  get owed(): number {
    return this.#dropped ? BALLAST_BYTES : 0;
  }

  /** Gives its bytes to the disk; false where there are none. */
  async drop(): Promise<boolean> {
    await this.#making;
    if (!this.#present) return false;
    this.#present = false;
    this.#dropped = true;
    await rm(this.#path, { force: true });
    return true;
  }

  /** Made where it is needed and fits; never rejects. `free`: bytes free on the disk. */
  tend(free: number): void {
    if (this.#present || this.#making || free > NEAR_THE_END || free < 4 * BALLAST_BYTES) return;
    this.#making = this.#make()
      .catch(() => rm(`${this.#path}.new`, { force: true }).catch(() => {}))
      .finally(() => {
        this.#making = undefined;
      });
  }

  /** Written in full: a file of holes would take nothing. */
  async #make(): Promise<void> {
    const file = await open(`${this.#path}.new`, 'w');
    try {
      for (let at = 0; at < BALLAST_BYTES; at += PIECE.length) await file.write(PIECE);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${this.#path}.new`, this.#path);
    this.#present = true;
    this.#dropped = false;
  }

  async close(): Promise<void> {
    await this.#making;
  }
}
