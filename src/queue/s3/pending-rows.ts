// The objects of a bucket for which something waits, in the order of their keys and a window at a time.
//
// Entries come in the order of their delivery and are wanted by key. One pass over what waits keeps the first keys behind a position, with
// the last that happens to each, so memory is bounded by a window whatever waits.

import type { Entry } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import type { Surroundings } from '../arrival.ts';
import { bearsCredentialsOf } from '../credentials.ts';
import { etagOf } from '../stored-answer.ts';
import type { S3Arrival } from './filing.ts';
import { isListed, type ListQuery, type Position } from './list-query.ts';
import { spoken } from './operation.ts';
import { allWaiting, type Effect } from './pending.ts';

/** Some 200 bytes each, beside the key. */
const WINDOW_ROWS = 2000;

export interface PendingObject {
  etag: string;
  bytes: number;
  /** ms since the epoch. */
  receivedAt: number;
  storageClass: string;
}

export interface Row {
  key: string;
  /** UTF-8: S3 sorts by it. */
  sort: Buffer;
  effect: Exclude<Effect, 'none'>;
  /** Of `put`. */
  object: PendingObject | undefined;
}

export interface Window {
  rows: readonly Row[];
  /** Of keys behind this one it says nothing; undefined: there are no more. */
  through: Row | undefined;
}

/** The first rows of those that it is given. */
class FirstRows {
  readonly #rows: Row[] = [];
  #isFull = false;

  set(row: Row): void {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.#rows[middle]!.sort, row.sort) < 0) low = middle + 1;
      else high = middle;
    }
    if (this.#rows[low]?.key === row.key) this.#rows[low] = row;
    else if (low < WINDOW_ROWS) this.#rows.splice(low, 0, row);
    else this.#isFull = true;
    if (this.#rows.length > WINDOW_ROWS) {
      this.#rows.pop();
      this.#isFull = true;
    }
  }

  get window(): Window {
    return { rows: this.#rows, through: this.#isFull ? this.#rows.at(-1) : undefined };
  }
}

const objectOf = (entry: Entry): PendingObject => ({
  etag: etagOf(entry),
  bytes: entry.bytes,
  receivedAt: entry.receivedAt,
  storageClass: headerOf(entry.headers, 'x-amz-storage-class') ?? 'STANDARD',
});

/** Objects that another app has sent with credentials of its own are not among them. Rejects with the reason of the client's signal. */
export const windowAfter = async (
  former: Surroundings['former'],
  { destination, request: asked, path, signal }: S3Arrival,
  { bucket, prefix }: Pick<ListQuery, 'bucket' | 'prefix'>,
  after: Position,
): Promise<Window> => {
  const first = new FirstRows();
  for await (const { entry, request, effect } of allWaiting(former, destination)) {
    signal.throwIfAborted();
    if (effect === 'none' || request.bucket !== bucket) continue;
    const key = spoken(request.key);
    if (!key.startsWith(prefix)) continue;
    const sort = Buffer.from(key);
    if (isListed(key, sort, after)) continue;
    if (effect === 'put' && !bearsCredentialsOf(entry, asked.rawHeaders, path)) continue;
    first.set({ key, sort, effect, object: effect === 'put' ? objectOf(entry) : undefined });
  }
  return first.window;
};
