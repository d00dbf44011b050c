// ListObjects and ListObjectsV2. A listing that is not the bucket's must not look like one, since programs that mirror delete what it does
// not name:
//
//   nothing that waits concerns it     passed on
//   the bucket can be asked            the bucket's, merged with what waits (merged-page.ts)
//   else, by store.listings            503, or only what waits

import type { XmlElement } from '@rgrove/parse-xml';
import { WayLost } from '../../replay/deliver/ask.ts';
import { portalSign } from '../../replay/deliver/portal.ts';
import { ANSWER_HEADER, MERGED, PENDING } from '../../wire/names.ts';
import type { Outcome, Surroundings } from '../arrival.ts';
import { element, NAMESPACE, newRequestId, ownerAs, sendXml } from './answer.ts';
import { BucketListing, BucketRefusal } from './bucket-listing.ts';
import { maySign, passOn, reachable, type S3Arrival, unavailable, waits } from './filing.ts';
import { isOwnToken, type ListQuery, listQueryOf, type Position, tokenOf } from './list-query.ts';
import { type Item, Merge, type Page } from './merged-page.ts';
import type { Window } from './pending-rows.ts';
import { elementsOf, serialized } from './xml.ts';

/** What XML can say as it is. Of the first version of the listing clients decode all but the prefix that they asked for. */
const XML_TEXT = /^[\t\n\x20-\uD7FF\uE000-\uFFFD]*$/;

const START: Position = { name: '', isPrefix: false };

/** Rejects with S3Refused. */
export async function list(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const query = listQueryOf(arrival.s3);
  if (reachable(around, arrival)) {
    const window = await concerning(around, arrival, query);
    if (!window) {
      if (await passOn(around, arrival)) return 'cut_through';
    } else if (await listMerged(around, arrival, query, window)) return 'read';
  }
  arrival.request.resume();
  const { name, store } = arrival.destination;
  if (store.listings !== 'pending')
    throw unavailable(
      `Layby has no link to ${name}, so what the bucket has is not known. Please try again. (store.listings of the policy can let it list only what waits.)`,
    );
  const merge = new Merge(around, arrival, undefined);
  const after = knownPosition(query);
  answer(arrival, query, await merge.page(query, after, await merge.windowAfter(query, after)), PENDING);
  return 'read';
}

/** What waits and concerns it; undefined: the bucket can answer it alone. */
async function concerning(
  around: Surroundings,
  arrival: S3Arrival,
  query: ListQuery,
): Promise<Window | undefined> {
  const mustBeOurs = isOwnToken(query.token);
  if (!mustBeOurs && (query.limit === 0 || !waits(around, arrival))) return undefined;
  const window = await new Merge(around, arrival, undefined).windowAfter(query, query.after ?? START);
  return mustBeOurs || window.rows.length > 0 ? window : undefined;
}

/** false: the bucket could not be asked, and nothing was said yet. */
async function listMerged(
  around: Surroundings,
  arrival: S3Arrival,
  query: ListQuery,
  window: Window,
): Promise<boolean> {
  if (!maySign(arrival))
    throw unavailable(
      'What waits cannot be merged into a listing that the app itself has signed. Please try again.',
    );
  const merge = new Merge(around, arrival, new BucketListing(around.egress, arrival));
  const after = knownPosition(query);
  try {
    answer(arrival, query, await merge.page(query, after, window), MERGED);
    return true;
  } catch (error) {
    if (error instanceof WayLost) {
      arrival.signal.throwIfAborted();
      around.log.info({ destination: arrival.destination.name, why: error.message }, 'bucket not listed');
      return false;
    }
    if (error instanceof BucketRefusal) return refusedByBucket(arrival, error);
    throw error;
  }
}

const knownPosition = ({ after }: ListQuery): Position => {
  if (after) return after;
  throw unavailable(
    'This listing began at the bucket, and meanwhile requests wait that concern it. Please try again, or list from the beginning.',
  );
};

/** S3's own refusal is the app's answer. */
function refusedByBucket({ destination, response }: S3Arrival, { answer: refusal }: BucketRefusal): boolean {
  const { status, headers, text } = refusal;
  if (portalSign(destination, { status, headers, text }) !== undefined) return false;
  const body = Buffer.from(text);
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2)
    if (/^(content-type|x-amz-.*|date)$/i.test(headers[i]!)) kept.push(headers[i]!, headers[i + 1]!);
  response.sendDate = false;
  response.writeHead(status, [...kept, 'content-length', String(body.length)]);
  response.end(body);
  return true;
}

function answer({ request, response }: S3Arrival, query: ListQuery, page: Page, kind: string): void {
  request.resume();
  sendXml(response, 200, documentOf(query, page), {
    'x-amz-request-id': newRequestId(),
    [ANSWER_HEADER]: kind,
  });
}

function documentOf(query: ListQuery, { items, next }: Page): string {
  const { version, bucket, prefix, delimiter, limit, token, start, isEncoded } = query;
  const name = (text: string): string =>
    isEncoded ? encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%20', '+') : text;
  return [
    `<ListBucketResult xmlns="${NAMESPACE}">`,
    element('Name', bucket),
    element('Prefix', version === 1 && XML_TEXT.test(prefix) ? prefix : name(prefix)),
    delimiter === '' ? '' : element('Delimiter', name(delimiter)),
    element('MaxKeys', limit),
    isEncoded ? element('EncodingType', 'url') : '',
    element('IsTruncated', next !== undefined),
    ...(version === 2
      ? [
          element('KeyCount', items.length),
          element('ContinuationToken', token),
          element('StartAfter', start === undefined ? undefined : name(start)),
          element('NextContinuationToken', next && tokenOf(next)),
        ]
      : [element('Marker', name(start ?? '')), element('NextMarker', next && name(next.name))]),
    ...items.filter(({ isPrefix }) => !isPrefix).map((item) => contentsOf(query, item, name(item.name))),
    ...items
      .filter(({ isPrefix }) => isPrefix)
      .map((item) => `<CommonPrefixes>${element('Prefix', name(item.name))}</CommonPrefixes>`),
    '</ListBucketResult>',
  ].join('');
}

function contentsOf({ withOwner }: ListQuery, { pending, contents }: Item, key: string): string {
  const said = pending
    ? [
        element('LastModified', new Date(pending.receivedAt).toISOString()),
        element('ETag', pending.etag),
        element('Size', pending.bytes),
        element('StorageClass', pending.storageClass),
        withOwner ? ownerAs('Owner') : '',
      ]
    : elementsOf(contents!)
        .filter(({ name }) => name !== 'Key')
        .map((each: XmlElement) => serialized(each));
  return `<Contents>${element('Key', key)}${said.join('')}</Contents>`;
}
