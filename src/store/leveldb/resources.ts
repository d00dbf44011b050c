// Which waiting entries belong to one resource: a row of the index for each, under the CRC32C of the resource and not its URL,
// which an encrypted store must not show. A row is a hint: that there is such an entry says its slot, and that it is this
// resource and not another with the same sum says its record. And a count of the rows that costs no look-up.

import { crc32c } from '@node-rs/crc32';
import { resourceOf } from '../resource.ts';
import { digits } from './keys.ts';
import type { Slot } from './slot.ts';

/** The CRC32C of the resource of a URL. */
export const resourceSum = (url: string): number => crc32c(resourceOf(url));

/** Staged entries are found by their group instead. */
export const groupSum = (group: string): number => crc32c(`group ${group}`);

/** What all rows of a resource begin with. */
export const rowsOf = (destination: string, sum: number): string =>
  `r/${encodeURIComponent(destination)}/${sum.toString(16).padStart(8, '0')}/`;

/** undefined: it has none, since it does not wait. */
export const rowsOfSlot = ({ destination, state, resource }: Slot): string | undefined =>
  (state === 'stored' || state === 'staged') && resource !== undefined
    ? rowsOf(destination, resource)
    : undefined;

export const rowKey = (rows: string, seq: number): string => rows + digits(seq);
export const seqOfRow = (key: string): number => Number(key.slice(key.lastIndexOf('/') + 1));

/** 2 MiB whatever is stored. With a million resources waiting it cannot say no to two of three that do not wait: those cost a
 *  look-up each. */
const COUNTS = 2 ** 20;
const STUCK = 2 ** 16 - 1;

/** Counts rows by a hash: zero means that there is none. */
export class ResourceCounts {
  readonly #counts = new Uint16Array(COUNTS);

  #at(rows: string): number {
    return crc32c(rows) & (COUNTS - 1);
  }

  add(rows: string): void {
    const at = this.#at(rows);
    if (this.#counts[at]! < STUCK) this.#counts[at]!++;
  }

  remove(rows: string): void {
    const at = this.#at(rows);
    // One that was full does not know any more how many there are.
    if (this.#counts[at]! < STUCK) this.#counts[at]!--;
  }

  has(rows: string): boolean {
    return this.#counts[this.#at(rows)]! > 0;
  }
}
