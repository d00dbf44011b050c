// ListObjects and ListObjectsV2 of what waits, and of nothing else: what the destination has, nobody can say without a link.
//
// Keys come in the order of their entries and are wanted sorted. One pass keeps the first keys beyond the marker, with the
// last that happened to each, so memory is bounded by a page whatever waits.

import type { Destination } from '../../policy/policy.ts';
import type { Entry, Store } from '../../store/store.ts';
import { etagOf } from '../stored-answer.ts';
import { element, NAMESPACE, refuse } from './answer.ts';
import { type S3Request, spoken } from './operation.ts';
import { allWaiting } from './pending.ts';

const MOST_KEYS = 1000;

interface Row {
  /** UTF-8: S3 sorts by it. */
  sort: Buffer;
  key: string;
  /** undefined: what happened last is a deletion, or nobody knows. */
  entry: Entry | undefined;
}

/** The first keys after a marker. */
class FirstRows {
  readonly rows: Row[] = [];
  readonly #limit: number;
  /** Some did not fit: there are more behind the last. */
  more = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  set(key: string, entry: Entry | undefined): void {
    const sort = Buffer.from(key);
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.rows[middle]!.sort, sort) < 0) low = middle + 1;
      else high = middle;
    }
    if (this.rows[low]?.key === key) {
      this.rows[low]!.entry = entry;
      return;
    }
    if (low < this.#limit) this.rows.splice(low, 0, { sort, key, entry });
    if (this.rows.length > this.#limit || low >= this.#limit) this.more = true;
    this.rows.length = Math.min(this.rows.length, this.#limit);
  }
}

interface Page {
  objects: Row[];
  prefixes: string[];
  /** Where the next page begins; undefined: this is the last. */
  next: string | undefined;
}

const pageOf = async (
  store: Store,
  destination: Destination,
  bucket: string,
  query: { prefix: string; delimiter: string; after: string; limit: number },
  signal: AbortSignal,
): Promise<Page> => {
  const { prefix, delimiter, after, limit } = query;
  const first = new FirstRows(limit);
  const marker = Buffer.from(after);
  // A marker that ends in the delimiter stands for all that begins with it.
  const passed = (key: string): boolean =>
    Buffer.compare(Buffer.from(key), marker) <= 0 ||
    (delimiter !== '' && after.endsWith(delimiter) && key.startsWith(after));
  for await (const { entry, request, effect } of allWaiting(store, destination)) {
    signal.throwIfAborted();
    if (effect === 'none' || request.bucket !== bucket) continue;
    const key = spoken(request.key);
    if (!key.startsWith(prefix) || (after !== '' && passed(key))) continue;
    first.set(key, effect === 'put' ? entry : undefined);
  }
  const objects: Row[] = [];
  const prefixes: string[] = [];
  let next = after;
  for (const row of first.rows) {
    const at = delimiter === '' ? -1 : row.key.indexOf(delimiter, prefix.length);
    const common = at < 0 ? undefined : row.key.slice(0, at + delimiter.length);
    if (row.entry && common === undefined) objects.push(row);
    else if (row.entry && prefixes.at(-1) !== common) prefixes.push(common!);
    next = common !== undefined && prefixes.at(-1) === common ? common : row.key;
  }
  return { objects, prefixes, next: first.more ? next : undefined };
};

const numberOf = (text: string | undefined): number => {
  if (text === undefined || text === '') return MOST_KEYS;
  if (!/^\d{1,10}$/.test(text))
    throw refuse(400, 'InvalidArgument', 'Provided max-keys not an integer or within integer range');
  return Math.min(MOST_KEYS, Number(text));
};

/** The XML of the answer. Rejects with S3Refused, and with the signal's reason. */
export const listing = async (
  store: Store,
  destination: Destination,
  { operation, bucket, query }: S3Request,
  signal: AbortSignal,
): Promise<string> => {
  const two = operation === 'ListObjectsV2';
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const limit = numberOf(query.get('max-keys'));
  const token = query.get('continuation-token');
  const start = query.get(two ? 'start-after' : 'marker');
  const after = two && token ? Buffer.from(token, 'base64url').toString() : (start ?? '');
  const encoded = query.get('encoding-type') === 'url';
  const name = (text: string) =>
    encoded ? encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%20', '+') : text;
  const { objects, prefixes, next } =
    limit === 0
      ? { objects: [], prefixes: [], next: undefined }
      : await pageOf(store, destination, bucket, { prefix, delimiter, after, limit }, signal);
  return [
    `<ListBucketResult xmlns="${NAMESPACE}">`,
    element('Name', bucket),
    element('Prefix', name(prefix)),
    delimiter === '' ? '' : element('Delimiter', name(delimiter)),
    element('MaxKeys', limit),
    encoded ? element('EncodingType', 'url') : '',
    element('IsTruncated', next !== undefined),
    ...(two
      ? [
          element('KeyCount', objects.length + prefixes.length),
          element('ContinuationToken', token),
          element('StartAfter', start === undefined ? undefined : name(start)),
          element(
            'NextContinuationToken',
            next === undefined ? undefined : Buffer.from(next).toString('base64url'),
          ),
        ]
      : [
          element('Marker', name(start ?? '')),
          element('NextMarker', next === undefined ? undefined : name(next)),
        ]),
    ...objects.map(
      ({ key, entry }) =>
        `<Contents>${element('Key', name(key))}${element('LastModified', new Date(entry!.receivedAt).toISOString())}${element('ETag', etagOf(entry!))}${element('Size', entry!.bytes)}${element('StorageClass', 'STANDARD')}</Contents>`,
    ),
    ...prefixes.map((common) => `<CommonPrefixes>${element('Prefix', name(common))}</CommonPrefixes>`),
    '</ListBucketResult>',
  ].join('');
};
