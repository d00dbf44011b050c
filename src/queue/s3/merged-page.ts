// One page of a listing: what the bucket has, with what waits. An object whose PUT waits is there, one whose DELETE waits is not, and a common
// prefix is there while any object has it.
//
// It is made in rounds: a window of what waits (pending-rows.ts), then what the bucket lists in that window. The window is always read
// before the bucket is asked, so that an entry which is delivered in between is found in one of the two.

import type { Surroundings } from '../arrival.ts';
import { type BucketItem, type BucketListing, TooManyRequests } from './bucket-listing.ts';
import { type S3Arrival, unavailable } from './filing.ts';
import { type ListQuery, type Position, rolledUp } from './list-query.ts';
import { type PendingObject, type Row, type Window, windowAfter } from './pending-rows.ts';

/** An object has one of the two, a common prefix neither. */
export interface Item extends Position {
  pending?: PendingObject;
  contents?: BucketItem['contents'];
}

export interface Page {
  items: Item[];
  /** The next page begins behind it; undefined: this is the last one. */
  next: Position | undefined;
}

/** undefined: only what waits is listed. */
type Bucket = BucketListing | undefined;

interface Group extends Position {
  rows: readonly Row[];
  theirs: BucketItem | undefined;
}

export class Merge {
  readonly #around: Pick<Surroundings, 'former'>;
  readonly #arrival: S3Arrival;
  readonly #bucket: Bucket;

  constructor(around: Pick<Surroundings, 'former'>, arrival: S3Arrival, bucket: Bucket) {
    this.#around = around;
    this.#arrival = arrival;
    this.#bucket = bucket;
  }

  windowAfter(query: ListQuery, after: Position): Promise<Window> {
    return windowAfter(this.#around.former, this.#arrival, query, after);
  }

  /** `first`: the window behind `after`. `isAnyEnough`: one item is all that is wanted, and not whether there is a next page. Rejects with
   *  S3Refused where the truth is not known, and as the bucket's items do. */
  async page(query: ListQuery, after: Position, first: Window, isAnyEnough = false): Promise<Page> {
    if (query.limit === 0) return { items: [], next: undefined };
    const items: Item[] = [];
    let position = after;
    let window = first;
    try {
      for (;;) {
        const hidden = window.rows.filter(({ effect }) => effect !== 'put').length;
        const round = new Round(
          query,
          window,
          this.#bucket,
          position,
          query.limit - items.length + 1 + hidden,
        );
        for (let group = await round.next(); group; group = await round.next()) {
          // What it will be need not be known to say that there is another page.
          const isThere = this.#bucket && group.rows[0]?.effect === 'unknown';
          if (isThere && items.length === query.limit) return { items, next: position };
          const item = await this.#itemOf(query, window, group, position);
          if (item && items.length === query.limit) return { items, next: position };
          if (item) items.push(item);
          if (item && isAnyEnough) return { items, next: undefined };
          // What is hidden behind the last item of a full page is not passed over: the next page begins behind that item.
          if (items.length < query.limit || item) position = group;
          if (items.length === query.limit && round.isKnownToHaveMore) return { items, next: position };
        }
        if (!window.through) return { items, next: undefined };
        position = furthest(position, window.through);
        window = await this.windowAfter(query, position);
      }
    } catch (error) {
      if (!(error instanceof TooManyRequests)) throw error;
      if (position.name === after.name)
        throw unavailable(
          'Too many deletions wait to be sent for this listing to be made. Please try again.',
        );
      return { items, next: position };
    }
  }

  async #itemOf(query: ListQuery, window: Window, group: Group, after: Position): Promise<Item | undefined> {
    const { name, isPrefix, rows, theirs } = group;
    if (isPrefix) return (await this.#hasAny(query, window, group, after)) ? { name, isPrefix } : undefined;
    const [row] = rows;
    if (!row) return { name, isPrefix, contents: theirs!.contents };
    if (row.effect === 'put') return { name, isPrefix, pending: row.object! };
    if (row.effect === 'delete') return undefined;
    if (!this.#bucket) return undefined;
    throw unavailable(
      `The end of an upload of ${name} waits, whose parts are at S3: only S3 knows what the object will be.`,
    );
  }

  /** Whether there is an object with this common prefix behind `after`. */
  async #hasAny(
    query: ListQuery,
    { through }: Window,
    { name, rows, theirs }: Group,
    after: Position,
  ): Promise<boolean> {
    if (rows.some(({ effect }) => effect === 'put' || (this.#bucket && effect === 'unknown'))) return true;
    const isSeenWhole = !through?.key.startsWith(name);
    if (isSeenWhole && rows.length === 0) return theirs !== undefined;
    if (isSeenWhole && !theirs) return false;
    const within: ListQuery = { ...query, prefix: name, delimiter: '', limit: 1 };
    const start = after.name.startsWith(name) ? after : { name: '', isPrefix: false };
    const { items, next } = await this.page(within, start, await this.windowAfter(within, start), true);
    if (items.length === 0 && next)
      throw unavailable('Too many deletions wait to be sent for this listing to be made. Please try again.');
    return items.length > 0;
  }
}

const furthest = (position: Position, through: Row): Position =>
  Buffer.compare(Buffer.from(position.name), through.sort) > 0 ||
  (position.isPrefix && through.key.startsWith(position.name))
    ? position
    : { name: through.key, isPrefix: false };

/** What waits in one window and what the bucket lists in it, by name. */
class Round {
  readonly #query: ListQuery;
  readonly #window: Window;
  readonly #theirs;
  #at = 0;

  constructor(query: ListQuery, window: Window, bucket: Bucket, after: Position, want: number) {
    this.#query = query;
    this.#window = window;
    this.#theirs = bucket?.items(query, after, want);
  }

  async next(): Promise<Group | undefined> {
    const { rows, through } = this.#window;
    const row = rows[this.#at];
    const ours = row && rolledUp(row.key, this.#query);
    const found = await this.#theirs?.peek();
    const theirs = found && through && Buffer.compare(found.sort, through.sort) > 0 ? undefined : found;
    if (!ours && !theirs) return undefined;
    const ourSort = ours && Buffer.from(ours.name);
    const order = !ourSort ? 1 : !theirs ? -1 : Buffer.compare(ourSort, theirs.sort);
    if (order >= 0) this.#theirs?.advance();
    const { name, isPrefix } = order <= 0 ? ours! : theirs!;
    const from = this.#at;
    if (order <= 0) {
      this.#at += 1;
      while (isPrefix && rows[this.#at]?.key.startsWith(name)) this.#at += 1;
    }
    return {
      ...{ name, isPrefix },
      rows: rows.slice(from, this.#at),
      theirs: order >= 0 ? theirs : undefined,
    };
  }

  /** There is another item, and no request is needed to say so: the bucket has more, and nothing that waits hides any of it. */
  get isKnownToHaveMore(): boolean {
    const { rows, through } = this.#window;
    const rest = rows.slice(this.#at);
    if (rest[0]?.effect === 'put') return true;
    return (
      through === undefined &&
      rest.every(({ effect }) => effect === 'put') &&
      this.#theirs?.isKnownToHaveMore === true
    );
  }
}
