// The set of generations: the one that takes what comes in, the sealed ones that are opened for reading when needed, and how
// many live bytes each holds. One with nothing live is removed whole; one that cannot be opened is set aside, never deleted.

import { readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StallWatch } from '../../platform/stall-watch.ts';
import { directoryBytes, syncDirectory } from './directory.ts';
import { COPY, Generation } from './generation.ts';
import { generationKeyName, type KeyRing } from './key-ring.ts';
import { isDamaged, reasonOf, storeFailed } from './level-errors.ts';
import { repairFrom, unborn } from './mend.ts';
import { noteWhy } from './set-aside.ts';
import type { Slot } from './slot.ts';

/** Sealed generations kept open when nobody reads them: each costs file handles and a few hundred KiB. */
const IDLE_OPEN = 4;
const REMOVED = '.removed';
/** Of a removal, an opening or a repair that was cut short. */
const LEFTOVER = /\.(?:removed|before|repair)$/;
const NAME = /^\d{8}$/;

interface Handle {
  opened: Promise<Generation>;
  users: number;
}

export type Lost = (generation: number, reason: string) => Promise<void>;

export class Generations {
  readonly #dir: string;
  readonly #limit: number;
  readonly #ring: KeyRing;
  /** Sealed ones, with their bytes on disk where that has been measured since they were last open. */
  readonly #sealed = new Map<number, number | undefined>();
  readonly #live = new Map<number, number>();
  /** Of the live bytes those that wait to be sent; the others are of dead letters and of what is quarantined. */
  readonly #waiting = new Map<number, number>();
  readonly #pins = new Map<number, number>();
  /** In the order of their last use. */
  readonly #open = new Map<number, Handle>();
  readonly #closing = new Map<number, Promise<void>>();
  /** Sealed by a failure, with bytes in the memory table: LevelDB must write them out to open again, so on a full disk such
   *  a one stays open, and replay reads on. */
  readonly #held = new Set<number>();
  /** Tables that LevelDB may see. */
  readonly #checked = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  #current: Generation | undefined;
  #next = 1;
  /** Told about a generation that could not be opened. */
  lost: Lost = async () => {};
  /** Told about one that could be opened only after a repair: what it has lost is found when it is read. */
  mended: (generation: number, reason: string) => void = () => {};
  /** Told when a sealed one has been put in order: it could not be removed until then. */
  settled: () => void = () => {};
  /** Finds a read that hangs. */
  stalls = new StallWatch();
  /** Whether the disk surely takes what LevelDB writes when it opens. */
  roomy: () => boolean = () => true;

  /** A new generation is started after `limit` bytes. */
  constructor(dir: string, limit: number, ring: KeyRing) {
    this.#dir = dir;
    this.#ring = ring;
    this.#limit = limit;
  }

  /** Takes stock of the directory; finishes what a crash cut short: a removal, or the making of a new one. */
  async load(): Promise<void> {
    for (const name of await readdir(this.#dir)) {
      if (LEFTOVER.test(name)) await rm(join(this.#dir, name), { recursive: true, force: true });
      else if (NAME.test(name) && (await unborn(join(this.#dir, name))))
        await rm(join(this.#dir, name), { recursive: true, force: true });
      else if (NAME.test(name)) this.#sealed.set(Number(name), undefined);
      // What was set aside keeps its number, so that it is never given twice.
      this.#next = Math.max(this.#next, (Number.parseInt(name, 10) || 0) + 1);
    }
  }

  /** Numbers in use, ascending. */
  get numbers(): number[] {
    const numbers = [...this.#sealed.keys()];
    if (this.#current) numbers.push(this.#current.number);
    return numbers.sort((a, b) => a - b);
  }

  has(number: number): boolean {
    return this.#sealed.has(number) || this.#current?.number === number;
  }

  get current(): Generation | undefined {
    return this.#current;
  }

  /** Whether the current one takes another batch. */
  get hasRoom(): boolean {
    return this.#current !== undefined && this.#current.written < this.#limit;
  }

  #path(number: number): string {
    return join(this.#dir, String(number).padStart(8, '0'));
  }

  /** Numbers up to here are known from the index and must not be given again. */
  reserve(number: number): void {
    this.#next = Math.max(this.#next, number + 1);
  }

  /** The last sealed one takes more where it has room, so that restarts do not litter. */
  async resume(floor: { generation: number; counter: number }): Promise<void> {
    const number = this.numbers.at(-1);
    if (number === undefined) return;
    await this.use(number, async (generation) => {
      await generation.resume(number === floor.generation ? floor.counter + 1 : 1);
      const plain = this.#ring.cipher(generationKeyName(number)) === undefined;
      if (generation.written >= this.#limit || (plain && this.#ring.active)) return;
      this.#sealed.delete(number);
      this.#current = generation;
    });
  }

  /** The generation for the next batch. Only the commit loop may call it. */
  async writable(): Promise<Generation> {
    if (this.#current && !this.hasRoom) this.seal();
    if (this.#current) return this.#current;
    const number = this.#next;
    const dir = this.#path(number);
    try {
      const cipher = await this.#ring.create(generationKeyName(number));
      const generation = await Generation.create(this.#dir, number, dir);
      generation.cipher = cipher;
      this.#next = number + 1;
      this.#open.set(number, { opened: Promise.resolve(generation), users: 0 });
      this.#current = generation;
      return generation;
    } catch (cause) {
      await rm(dir, { recursive: true, force: true }).catch(() => {});
      throw storeFailed(`A new generation of the store could not be started (${dir})`, cause);
    }
  }

  /** The current generation takes no more. After a failed write it stays open: what it holds can still be read. */
  seal(failed = false): void {
    const generation = this.#current;
    if (!generation) return;
    this.#current = undefined;
    this.#sealed.set(generation.number, undefined);
    if (failed) this.#held.add(generation.number);
    if (failed || this.spent(generation.number)) return;
    const settled = this.use(generation.number, (sealed) => sealed.settle());
    this.#inBackground(settled.catch(() => this.#held.add(generation.number)).then(() => this.settled()));
  }

  /** The values of `keys`, undefined where there is none or it cannot be read. */
  async read(number: number, keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    const reading = this.use(number, (generation) => generation.values(keys));
    const values = await this.stalls.watch('a read of the store', reading).catch((thrown) => {
      throw storeFailed(`Generation ${number} of the store cannot be read`, thrown);
    });
    return values ?? keys.map(() => undefined);
  }

  /** Runs `task` on an open generation; undefined where it is gone. One that cannot be opened is set aside. */
  async use<T>(number: number, task: (generation: Generation) => Promise<T>): Promise<T | undefined> {
    if (!this.has(number)) return undefined;
    const handle = this.#open.get(number) ?? { opened: this.#reopen(number), users: 0 };
    handle.users++;
    this.#open.delete(number);
    this.#open.set(number, handle);
    let generation: Generation;
    try {
      generation = await handle.opened;
      generation.cipher = this.#ring.cipher(generationKeyName(number));
    } catch (cause) {
      if (this.#open.get(number) === handle) this.#open.delete(number);
      if (!isDamaged(cause))
        throw storeFailed(`Generation ${number} of the store cannot be opened now`, cause);
      await this.setAside(number, reasonOf(cause));
      return undefined;
    }
    try {
      return await task(generation);
    } finally {
      this.#release(handle);
    }
  }

  /** LevelDB's lock admits one, so a closing that is under way comes first. */
  async #reopen(number: number): Promise<Generation> {
    await this.#closing.get(number);
    try {
      return await Generation.open(number, this.#path(number), this.#checked);
    } catch (cause) {
      if (!isDamaged(cause) || !this.has(number)) throw cause;
      return await this.#mend(number, cause);
    }
  }

  /** LevelDB's repair, on a copy. Throws the first cause where that does not help. */
  async #mend(number: number, cause: unknown): Promise<Generation> {
    const path = this.#path(number);
    const aside = `${path}.damaged-${Date.now()}`;
    let generation: Generation;
    try {
      await rename(path + COPY, aside);
      await noteWhy(aside, reasonOf(cause));
      await repairFrom(aside, path);
      generation = await Generation.open(number, path, this.#checked);
    } catch (again) {
      throw isDamaged(again) ? cause : again;
    }
    const kept = `its files as they were are in ${basename(aside)}`;
    this.mended(number, `generation ${number} was damaged (${reasonOf(cause)}) and repaired; ${kept}`);
    return generation;
  }

  #release(released: Handle): void {
    released.users--;
    let idle = 0;
    // The last used stand last: count from there.
    for (const [number, handle] of [...this.#open].reverse()) {
      if (handle.users > 0 || number === this.#current?.number) continue;
      if (this.#held.has(number) && !this.roomy()) continue;
      if (++idle > IDLE_OPEN) this.#inBackground(this.#close(number, handle));
    }
  }

  async #close(number: number, handle: Handle): Promise<void> {
    this.#open.delete(number);
    this.#held.delete(number);
    const closed = handle.opened.then(
      (generation) => generation.close(),
      () => {},
    );
    this.#closing.set(number, closed);
    await closed.finally(() => this.#closing.delete(number));
  }

  #inBackground(work: Promise<void>): void {
    const quiet = work.catch(() => {}).finally(() => this.#background.delete(quiet));
    this.#background.add(quiet);
  }

  /** Moves it out of the way as it is, and tells. Never deletes. */
  async setAside(number: number, reason: string): Promise<void> {
    if (!this.#sealed.has(number)) return;
    this.#sealed.delete(number);
    const aside = `${this.#path(number)}.damaged-${Date.now()}`;
    await rename(this.#path(number), aside).catch(() => {}); // it may be gone altogether
    await noteWhy(aside, reason);
    await this.lost(number, `generation ${number} cannot be opened: ${reason}`);
  }

  live(number: number): number {
    return this.#live.get(number) ?? 0;
  }

  waiting(number: number): number {
    return this.#waiting.get(number) ?? 0;
  }

  /** `sign` is 1 for an entry that comes, -1 for one that leaves. */
  count({ parts, state }: Pick<Slot, 'parts' | 'state'>, sign: 1 | -1): void {
    for (const [number, bytes] of parts) {
      this.#live.set(number, this.live(number) + sign * bytes);
      if (state === 'stored') this.#waiting.set(number, this.waiting(number) + sign * bytes);
    }
  }

  /** Keeps generations from being removed: a body is being written to them, or read. */
  pin(numbers: Iterable<number>): () => void {
    const pinned = [...new Set(numbers)];
    for (const number of pinned) this.#pins.set(number, (this.#pins.get(number) ?? 0) + 1);
    return () => {
      for (const number of pinned.splice(0)) {
        const left = this.#pins.get(number)! - 1;
        if (left > 0) this.#pins.set(number, left);
        else this.#pins.delete(number);
      }
    };
  }

  pinned(number: number): boolean {
    return this.#pins.has(number);
  }

  /** Nothing in it lives and nobody is at it. */
  spent(number: number): boolean {
    return this.live(number) === 0 && !this.#pins.has(number);
  }

  /** Sealed ones, ascending. */
  get sealed(): number[] {
    return [...this.#sealed.keys()].sort((a, b) => a - b);
  }

  /** Removes a sealed one that is spent; false where someone came in between. */
  async remove(number: number): Promise<boolean> {
    const handle = this.#open.get(number);
    if (!this.#sealed.has(number) || !this.spent(number) || (handle && handle.users > 0)) return false;
    this.#sealed.delete(number);
    this.#live.delete(number);
    this.#waiting.delete(number);
    this.#held.delete(number);
    if (handle) await this.#close(number, handle);
    else await this.#closing.get(number);
    const doomed = this.#path(number) + REMOVED;
    await rename(this.#path(number), doomed);
    // Or a power cut could bring back the name of a generation that has lost a part of its files.
    await syncDirectory(this.#dir);
    await rm(doomed, { recursive: true, force: true });
    await this.#ring.drop(generationKeyName(number));
    return true;
  }

  /** Bytes on the disk; sealed ones are measured once. */
  async bytes(afresh = false): Promise<number> {
    let sum = 0;
    for (const number of this.numbers) sum += await this.bytesOf(number, afresh);
    return sum;
  }

  async bytesOf(number: number, afresh = false): Promise<number> {
    const known = this.#sealed.get(number);
    if (known !== undefined && !afresh) return known;
    const bytes = await directoryBytes(this.#path(number));
    if (this.#sealed.has(number) && !this.#open.has(number)) this.#sealed.set(number, bytes);
    return bytes;
  }

  /** After this only `load` may follow. */
  async close(): Promise<void> {
    await Promise.all(this.#background);
    for (const [number, handle] of [...this.#open]) await this.#close(number, handle);
    await syncDirectory(this.#dir).catch(() => {});
  }
}
