// The entries that an operator wants sent now, over whatever link there is: a file of lines, `+ID` and `-ID`, which outlives restarts.
// What that means for an entry is the lane scheduler's.

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { replaceFile } from '../policy/replace-file.ts';
import type { Store } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';

/** Lines that say nothing any more, up to which the file is not written anew. */
const IDLE_LINES = 1_000;

export class Hurried {
  readonly #file: string;
  readonly #log: Logger;
  readonly #ids = new Set<string>();
  /** In the file; where there is none, so many that it is written anew, with its name safe in the directory. */
  #lines = Number.POSITIVE_INFINITY;
  #pending: string[] = [];
  #writing: Promise<void> = Promise.resolve();
  /** The write that will have what is pending. */
  #next: Promise<void> | undefined;

  /** Reads the file; one that is missing is empty, and a line that is torn says nothing. */
  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) return;
    const whole = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    this.#lines = whole.length;
    for (const line of whole) {
      if (line.startsWith('+')) this.#ids.add(line.slice(1));
      else this.#ids.delete(line.slice(1));
    }
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Resolves when a restart will know it; many at once share a write. */
  async add(id: string): Promise<void> {
    if (this.#ids.has(id)) return this.#writing;
    this.#ids.add(id);
    await this.#say(`+${id}`);
  }

  /** It has left, or must be asked for again. */
  delete(id: string): void {
    if (this.#ids.delete(id)) void this.#say(`-${id}`);
  }

  /** Forgets those that left while nobody noted it. */
  async prune(store: Store): Promise<void> {
    for (const id of this.#ids) if (!(await store.get(id))) this.delete(id);
  }

  #say(line: string): Promise<void> {
    this.#pending.push(line);
    // A write that has begun does not have this line.
    this.#next ??= this.#writing.then(() => this.#write());
    this.#writing = this.#next;
    return this.#next;
  }

  async #write(): Promise<void> {
    const lines = this.#pending;
    this.#pending = [];
    this.#next = undefined;
    this.#lines += lines.length;
    try {
      if (this.#lines > this.#ids.size + IDLE_LINES) {
        await replaceFile(this.#file, [...this.#ids].map((id) => `+${id}\n`).join(''));
        this.#lines = this.#ids.size;
      } else await appendFile(this.#file, lines.map((line) => `${line}\n`).join(''), { flush: true });
    } catch (error) {
      this.#log.error({ err: messageOf(error) }, 'what shall be sent now cannot be kept for the next start');
    }
  }

  async close(): Promise<void> {
    await this.#writing;
  }
}
