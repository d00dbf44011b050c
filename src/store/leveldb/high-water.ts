// How far the store has come, in a small file beside its databases: the last number that was given to an entry with a receipt,
// and the last flush of the index. Opening compares: what the databases lack at their very end, nothing in them could tell. It is
// written within a few milliseconds of each commit and never synced: a crash may set it back, and it is never ahead.

import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seal, unseal } from './sealed-json.ts';

export interface Mark {
  seq: number;
  /** Where that entry's record is. */
  generation: number;
  flush: number;
}

const FILE = 'high-water';
/** In one sector, so that it is never torn. */
const LENGTH = 128;
/** Commits in a row share a write: one for each would take a lone writer a fifth of its speed. ms */
const GATHER = 10;

export class HighWater {
  readonly #file: FileHandle;
  #mark: Mark;
  #written: Mark;
  #writing = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  private constructor(file: FileHandle, found: Mark | undefined) {
    this.#file = file;
    this.#mark = found ?? { seq: 0, generation: 0, flush: 0 };
    this.#written = this.#mark;
  }

  /** `found`: what `readMark` gave. */
  static async open(dir: string, found: Mark | undefined): Promise<HighWater> {
    return new HighWater(await open(join(dir, FILE), constants.O_RDWR | constants.O_CREAT, 0o644), found);
  }

  /** Of what is safe on the disk. */
  note(mark: Partial<Mark>): void {
    this.#mark = { ...this.#mark, ...mark };
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#writing.then(() => this.#write());
    }, GATHER).unref();
  }

  async #write(): Promise<void> {
    if (this.#written === this.#mark) return;
    this.#written = this.#mark;
    const text = Buffer.from(seal(this.#mark).padEnd(LENGTH));
    // It is a check, not the truth: where it cannot be written the store goes on.
    await this.#file.write(text, 0, LENGTH, 0).catch(() => {});
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write();
    await this.#file.close();
  }
}

/** undefined where there is none, or none that can be trusted. */
export const readMark = async (dir: string): Promise<Mark | undefined> => {
  try {
    return unseal<Mark>((await readFile(join(dir, FILE), 'latin1')).trimEnd());
  } catch {
    return undefined;
  }
};
