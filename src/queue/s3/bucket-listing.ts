// What the bucket lists, asked by requests of our own: always ListObjectsV2 with encoded names, so that every key can be read.

import type { XmlElement } from '@rgrove/parse-xml';
import type { Egress } from '../../egress/egress.ts';
import { towards } from '../../policy/in-force.ts';
import { ask, WayLost, type WholeAnswer } from '../../replay/deliver/ask.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { headOf } from '../arrival.ts';
import { entryId } from '../entry-id.ts';
import type { S3Arrival } from './filing.ts';
import { type ListQuery, MOST_KEYS, type Position } from './list-query.ts';
import { spoken } from './operation.ts';
import { elements, rootNamed, textOf } from './xml.ts';

/** Of the request, what changes the answer and not the page. */
const KEPT = [
  'user-agent',
  'x-amz-expected-bucket-owner',
  'x-amz-optional-object-attributes',
  'x-amz-request-payer',
];

/** Requests for one page of an app's: a bucket whose objects are all being deleted would be read to its end. */
const MOST_REQUESTS = 20;

/** S3 answered, and gives no list. */
export class BucketRefusal extends Error {
  readonly answer: WholeAnswer;

  constructor(answer: WholeAnswer) {
    super(`the bucket's listing was answered with ${answer.status}`);
    this.answer = answer;
  }
}

/** The requests of one page are used up. */
export class TooManyRequests extends Error {}

export interface BucketItem extends Position {
  sort: Buffer;
  /** Of an object: its `Contents`. */
  contents: XmlElement | undefined;
}

/** Items in their order. */
export interface BucketItems {
  /** The next one; undefined: there are no more. Rejects with BucketRefusal, TooManyRequests, WayLost. */
  peek(): Promise<BucketItem | undefined>;
  advance(): void;
  /** Whether there are more, as far as that is known without another request. */
  readonly isKnownToHaveMore: boolean;
}

export class BucketListing {
  readonly #egress: Egress;
  readonly #arrival: S3Arrival;
  /** One for all requests, so that all of them go to one upstream where the policy has several. */
  readonly #id = entryId();
  #left = MOST_REQUESTS;

  constructor(egress: Egress, arrival: S3Arrival) {
    this.#egress = egress;
    this.#arrival = arrival;
  }

  /** `want`: so many items are expected to be needed. */
  items(query: ListQuery, after: Position, want: number): BucketItems {
    let page: BucketItem[] = [];
    let at = 0;
    let token: string | undefined;
    let ended = false;
    let last: BucketItem | undefined;
    const fetch = async (): Promise<void> => {
      const found = await this.#page(query, token === undefined ? after : { token }, want);
      at = 0;
      page = found.items.filter((item) => !isBefore(item, after) && item.name !== last?.name);
      token = found.next;
      ended = token === undefined;
      if (last && page[0] && Buffer.compare(last.sort, page[0].sort) > 0)
        throw new WayLost('the bucket does not list its keys in the order of their bytes');
      last = page.at(-1) ?? last;
    };
    return {
      peek: async () => {
        while (at >= page.length && !ended) await fetch();
        return page[at];
      },
      advance: () => {
        at += 1;
      },
      get isKnownToHaveMore() {
        return at < page.length || (token !== undefined && !ended);
      },
    };
  }

  async #page(
    { prefix, delimiter, withOwner }: ListQuery,
    from: Position | { token: string },
    want: number,
  ): Promise<{ items: BucketItem[]; next: string | undefined }> {
    if (this.#left === 0) throw new TooManyRequests('too many requests for one page of a listing');
    this.#left -= 1;
    const query: [string, string][] = [
      ['list-type', '2'],
      ['encoding-type', 'url'],
      ['max-keys', String(Math.min(MOST_KEYS, want))],
      ['prefix', prefix],
    ];
    if (delimiter !== '') query.push(['delimiter', delimiter]);
    if (withOwner) query.push(['fetch-owner', 'true']);
    if ('token' in from) query.push(['continuation-token', from.token]);
    else if (from.name !== '') query.push(['start-after', from.name]);
    const answer = await ask(this.#egress, towards(this.#arrival.destination, this.#id), this.#head(query), {
      signal: this.#arrival.signal,
      impatient: true,
    });
    this.#arrival.signal.throwIfAborted();
    if (!answer.whole) throw new WayLost('the listing of the bucket broke off');
    if (answer.status !== 200) throw new BucketRefusal(answer);
    return read(answer.text);
  }

  #head(query: [string, string][]): EntryHead {
    const [resource] = this.#arrival.url.split('?', 1);
    const text = query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
    const head = headOf({ ...this.#arrival, url: `${resource}?${text}` });
    return {
      ...head,
      id: this.#id,
      headers: KEPT.flatMap((name) => {
        const value = headerOf(head.headers, name);
        return value === undefined ? [] : [name, value];
      }),
    };
  }
}

/** A server may list a common prefix again behind itself. One in whose middle the listing begins is there for the keys that follow. */
const isBefore = ({ name, sort, isPrefix }: BucketItem, after: Position): boolean => {
  if (after.name === '') return false;
  if (after.isPrefix && name.startsWith(after.name)) return true;
  if (isPrefix && after.name.startsWith(name)) return false;
  return Buffer.compare(sort, Buffer.from(after.name)) <= 0;
};

const read = (text: string): { items: BucketItem[]; next: string | undefined } => {
  const document = rootNamed(text, 'ListBucketResult');
  if (!document) throw new WayLost('what answered the listing is no S3');
  const isEncoded = textOf(document, 'EncodingType') === 'url';
  const named = (parent: XmlElement, name: string): string => {
    const text = textOf(parent, name) ?? '';
    return isEncoded ? spoken(text.replaceAll('+', ' ')) : text;
  };
  const item = (name: string, contents: XmlElement | undefined): BucketItem => ({
    ...{ name, sort: Buffer.from(name), isPrefix: contents === undefined, contents },
  });
  const items = [
    ...elements(document, 'Contents').map((contents) => item(named(contents, 'Key'), contents)),
    ...elements(document, 'CommonPrefixes').map((common) => item(named(common, 'Prefix'), undefined)),
  ];
  items.sort((a, b) => Buffer.compare(a.sort, b.sort));
  const isTruncated = textOf(document, 'IsTruncated')?.trim() === 'true';
  const next = textOf(document, 'NextContinuationToken');
  if (isTruncated && !next) throw new WayLost('the bucket has more to list, and does not say how');
  return { items, next: isTruncated ? next : undefined };
};
