// GetObject and HeadObject of what waits: answered from the store as S3 would answer when it has arrived.

import type { Entry, Store } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { headerOf } from '../../wire/headers.ts';
import { ANSWER_HEADER, ENTRY_HEADER, PENDING } from '../../wire/names.ts';
import type { Arrival } from '../arrival.ts';
import { type ByteRange, rangeOf, verdictOn } from '../conditions.ts';
import { etagOf } from '../stored-answer.ts';
import { type BegunChunks, streamResponse, withFirstChunk } from '../stream-response.ts';
import { preconditionFailed, refuse, S3Refused } from './answer.ts';
import { CHECKSUM } from './checksums.ts';
import { unavailable } from './filing.ts';
import { partNumberOf } from './parts.ts';
import type { LastWaiting } from './pending.ts';
import { tagsInHeader, tagsInXml } from './tags.ts';

/** Of the headers of a PUT, those that S3 gives back with the object. */
const KEPT =
  /^(content-type|content-encoding|content-disposition|content-language|cache-control|expires|x-amz-meta-.+|x-amz-storage-class|x-amz-website-redirect-location|x-amz-server-side-encryption(?!-customer-key$|-context$).*)$/;

/** A header that the query of a GET may set, as `response-content-type` does. */
const OVERRIDE =
  /^response-(content-type|content-encoding|content-disposition|content-language|cache-control|expires)$/;

/** false: the entry has left meanwhile, and nothing was said yet. Rejects with S3Refused, and with the store's errors. */
export async function sendObject(
  store: Store,
  { request, response, signal }: Arrival,
  query: ReadonlyMap<string, string>,
  { entry, tagging }: Pick<LastWaiting, 'entry' | 'tagging'>,
): Promise<boolean> {
  const headers = headersOf(entry);
  const current = { etag: etagOf(entry), changed: entry.receivedAt };
  const verdict = verdictOn(request.headers, current, true);
  if (verdict === 'unchanged') {
    response.writeHead(304, { ETag: etagOf(entry), 'Last-Modified': headers['Last-Modified']! });
    response.end();
    return true;
  }
  if (verdict === 'failed') throw preconditionFailed();
  for (const [name, value] of query) {
    const overridden = OVERRIDE.exec(name)?.[1];
    if (overridden) headers[overridden] = value;
  }
  const part = query.get('partNumber');
  const range =
    part === undefined
      ? rangeOf(request.headers, etagOf(entry), entry.bytes)
      : rangeOfPart(entry, part, request.headers.range);
  if (range === 'none') throw refuse(416, 'InvalidRange', 'The requested range is not satisfiable');
  const { start, end } = range === 'all' ? { start: 0, end: entry.bytes } : range;
  headers['Content-Length'] = String(end - start);
  if (range !== 'all') headers['Content-Range'] = `bytes ${start}-${end - 1}/${entry.bytes}`;
  // A checksum of the whole beside a part of it makes clients believe that the part is damaged.
  else if (request.headers['x-amz-checksum-mode'] === 'ENABLED') Object.assign(headers, checksumsOf(entry));
  if (part !== undefined && partsOf(entry) !== undefined)
    headers['x-amz-mp-parts-count'] = String(partsOf(entry));
  const tags = await tagsOf(store, entry, tagging);
  if (tags > 0) headers['x-amz-tagging-count'] = String(tags);
  let chunks: BegunChunks | undefined;
  try {
    if (request.method !== 'HEAD') chunks = await withFirstChunk(store.read(entry, { start, end }));
  } catch (error) {
    if (error instanceof LaybyError && error.code === 'LAYBY_ENTRY_UNKNOWN') return false;
    throw error;
  }
  response.writeHead(range === 'all' ? 200 : 206, headers);
  if (chunks) await streamResponse(response, chunks, signal);
  else response.end();
  return true;
}

/** Of an object that came in parts, how many; a body that came as one has none. */
const partsOf = ({ md5 }: Entry): number | undefined => {
  const count = /-(\d+)$/.exec(md5 ?? '')?.[1];
  return count === undefined ? undefined : Number(count);
};

/** A body that came as one is its only part. Where the parts of a composed one end, nothing says any more. */
const rangeOfPart = (entry: Entry, part: string, range: string | undefined): 'all' | ByteRange => {
  const number = partNumberOf(part);
  if (range !== undefined)
    throw refuse(400, 'InvalidRequest', 'Cannot specify both Range header and partNumber query parameter');
  const count = partsOf(entry) ?? 1;
  if (number > count) throw refuse(416, 'InvalidPartNumber', 'The requested partnumber is not satisfiable');
  if (count > 1)
    throw unavailable(
      'An object that waits in the queue as a whole cannot be read by its parts. Please try again.',
    );
  return entry.bytes === 0 ? 'all' : { start: 0, end: entry.bytes };
};

/** How many tags it has. What is not read as tags any more, or was stored before tags were judged, counts none. */
const tagsOf = async (store: Store, { headers }: Entry, tagging: Entry | undefined): Promise<number> => {
  try {
    if (!tagging) return tagsInHeader(headerOf(headers, 'x-amz-tagging') ?? '').length;
    if (tagging.method === 'DELETE') return 0;
    const pieces: Buffer[] = [];
    for await (const piece of store.read(tagging)) pieces.push(piece);
    return tagsInXml(Buffer.concat(pieces)).length;
  } catch (error) {
    if (error instanceof S3Refused || error instanceof LaybyError) return 0;
    throw error;
  }
};

const checksumsOf = ({ headers }: Entry): Record<string, string> => {
  const found: Record<string, string> = {};
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (CHECKSUM.test(name))
      Object.assign(found, { [name]: headers[i + 1], 'x-amz-checksum-type': 'FULL_OBJECT' });
  }
  return found;
};

const headersOf = (entry: Entry): Record<string, string> => {
  const headers: Record<string, string> = { 'content-type': 'binary/octet-stream' };
  for (let i = 0; i < entry.headers.length; i += 2) {
    const name = entry.headers[i]!.toLowerCase();
    if (KEPT.test(name)) headers[name] = entry.headers[i + 1]!;
  }
  return {
    ...headers,
    ETag: etagOf(entry),
    'Last-Modified': new Date(entry.receivedAt).toUTCString(),
    'Accept-Ranges': 'bytes',
    [ENTRY_HEADER]: entry.id,
    [ANSWER_HEADER]: PENDING,
  };
};
