// Which waiting entries belong to one resource: a row of the index for each, under the CRC32C of the resource and not its URL,
// which an encrypted store must not show. A row is a hint: that there is such an entry says its slot, and that it is this
// resource and not another with the same sum says its record. And a count of the rows that costs no look-up.

import { crc32c } from '@node-rs/crc32';
import { resourceOf } from '../resource.ts';

/** The CRC32C of the resource of a URL. */
export const resourceSum = (url: string): number => crc32c(resourceOf(url));

/** Staged entries are found by their group instead. */
export const groupSum = (group: string): number => crc32c(`group ${group}`);

/** The sum that it waits under, of its resource or its group; undefined where it does not wait. */
export const awaited = ({ state, resource }: { state: string; resource?: number }): number | undefined =>
  state === 'stored' || state === 'staged' ? resource : undefined;

/** The seqs of a few resources. Numbers and no sets: nearly always there is one, and a thousand come with each flush. */
export class ResourceSeqs {
  readonly #lanes = new Map<string, Map<number, number | number[]>>();

  add(destination: string, sum: number, seq: number): void {
    const lane = this.#lanes.get(destination) ?? new Map<number, number | number[]>();
    this.#lanes.set(destination, lane);
    const known = lane.get(sum);
    if (known === undefined) lane.set(sum, seq);
    else if (typeof known === 'number') {
      if (known !== seq) lane.set(sum, [known, seq]);
    } else if (known.at(-1) !== seq) known.push(seq);
  }

  /** One may be in it twice. */
  of(destination: string, sum: number): readonly number[] {
    const known = this.#lanes.get(destination)?.get(sum) ?? [];
    return typeof known === 'number' ? [known] : known;
  }

  *all(): Generator<[destination: string, sum: number, seq: number]> {
    for (const [destination, lane] of this.#lanes)
      for (const sum of lane.keys())
        for (const seq of this.of(destination, sum)) yield [destination, sum, seq];
  }
}

/** 2 MiB whatever is stored. With a million resources waiting it cannot say no to two of three that do not wait: those cost a
 *  look-up each. */
const COUNTS = 2 ** 20;
const STUCK = 2 ** 16 - 1;

/** Counts rows by a hash: zero means that there is none. */
export class ResourceCounts {
  readonly #counts = new Uint16Array(COUNTS);

  #at(destination: string, sum: number): number {
    return (sum ^ crc32c(destination)) & (COUNTS - 1);
  }

  add(destination: string, sum: number): void {
    const at = this.#at(destination, sum);
    if (this.#counts[at]! < STUCK) this.#counts[at]!++;
  }

  remove(destination: string, sum: number): void {
    const at = this.#at(destination, sum);
    // One that was full does not know any more how many there are.
    if (this.#counts[at]! < STUCK) this.#counts[at]!--;
  }

  has(destination: string, sum: number): boolean {
    return this.#counts[this.#at(destination, sum)]! > 0;
  }
}
