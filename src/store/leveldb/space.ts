// Whether there is room: the store's quota, and a reserve of the disk that LevelDB never sees the end of (once it does, even
// deletes fail until it is opened again). Asked on every write, so it works on an estimate that is refreshed now and then.

import { statfs } from 'node:fs/promises';
import { LaybyError } from '../../telemetry/error.ts';

const RESERVE_BYTES = 256 * 1024 * 1024;
const RESERVE_SHARE = 0.05;
/** What LevelDB may have to write to open a database again: one memory table, and the files around it. */
const REOPEN_BYTES = 32 * 1024 * 1024;
/** The estimate is refreshed after this much time (ms), or when this share of what was left is taken, whichever comes first:
 *  counting looks at every file, which took a twelfth of the main thread for large bodies, and matters only where the end is near. */
const REFRESH_AFTER = 1000;
const REFRESH_SHARE = 1 / 8;
const REFRESH_BYTES = 16 * 1024 * 1024;

export interface SpaceOptions {
  /** Bytes on the disk, all files of the store. */
  quota?: number | undefined;
  /** Bytes that stay free on the disk; default 256 MiB or 5 % of the disk, whichever is smaller. */
  reserve?: number | undefined;
}

/** Bytes of a disk that are to stay free; `asked`: by the operator. */
export const reserveOf = (disk: { blocks: number; bsize: number }, asked: number | undefined): number =>
  asked ?? Math.min(RESERVE_BYTES, disk.blocks * disk.bsize * RESERVE_SHARE);

export class Space {
  readonly #dir: string;
  readonly #quota: number;
  readonly #reserve: number | undefined;
  readonly #measure: () => Promise<number>;
  #used = 0;
  #free = 0;
  #spare = Number.POSITIVE_INFINITY;
  #taken = 0;
  #expected = 0;
  #at = 0;
  #refreshing: Promise<void> | undefined;
  /** Bytes that stay free whatever the reserve is: without them what leaves the store could not be written down. */
  floor: () => number = () => 0;
  /** Told the bytes free on the disk. */
  onRefreshed: (free: number) => void = () => {};

  constructor(dir: string, options: SpaceOptions, measure: () => Promise<number>) {
    this.#dir = dir;
    this.#quota = options.quota ?? Number.POSITIVE_INFINITY;
    this.#reserve = options.reserve;
    this.#measure = measure;
  }

  /** Counts anew; one at a time. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#count().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #count(): Promise<void> {
    const before = this.#taken;
    const [used, disk] = await Promise.all([this.#measure(), statfs(this.#dir)]);
    this.#used = used;
    this.#free = disk.bavail * disk.bsize;
    this.#spare = this.#free - Math.max(reserveOf(disk, this.#reserve), this.floor());
    this.#taken -= before;
    this.#at = performance.now();
    this.onRefreshed(this.#free);
  }

  get roomy(): boolean {
    return this.#free - this.#taken > REOPEN_BYTES;
  }

  /** Bytes that a body of known length will still bring; to be lowered with a negative number as they come. */
  expect(bytes: number): void {
    this.#expected += bytes;
  }

  /** Bytes on their way to the disk. */
  took(bytes: number): void {
    this.#taken += bytes;
    const left = Math.min(this.#quota - this.#used, this.#spare);
    const due =
      this.#taken > Math.max(REFRESH_BYTES, left * REFRESH_SHARE) ||
      performance.now() - this.#at > REFRESH_AFTER;
    if (due) this.refresh().catch(() => {}); // the old estimate stands until the next one
  }

  /** Bytes by which `more` do not fit. */
  lacking(more: number): number {
    const coming = this.#taken + this.#expected + more;
    return Math.max(0, this.#used + coming - this.#quota, coming - this.#spare);
  }

  /** Bytes of the disk that copying may use for a moment, the reserve included. */
  get elbow(): number {
    return this.#free - this.#taken - REOPEN_BYTES;
  }

  /** Why `bytes` more do not fit, as LAYBY_STORE_FULL; undefined where they do. */
  refusal(bytes: number): LaybyError | undefined {
    const coming = this.#taken + this.#expected + bytes;
    if (this.#used + coming > this.#quota)
      return new LaybyError(
        'LAYBY_STORE_FULL',
        `The store has ${this.#used} bytes on the disk and its quota is ${this.#quota}; ${coming} more do not fit`,
        { remedy: 'Wait until replay has made room, drop entries, or raise the quota' },
      );
    if (coming > this.#spare)
      return new LaybyError(
        'LAYBY_STORE_FULL',
        `The disk of the store has ${Math.max(0, this.#spare)} bytes above the reserve; ${coming} more do not fit`,
        { remedy: 'Free space on the disk, or wait until replay has made room' },
      );
    return undefined;
  }
}
