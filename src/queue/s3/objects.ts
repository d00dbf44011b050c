// GetObject and HeadObject of what waits: answered from the store as S3 would answer when it has arrived.

import type { Entry, Store } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { ANSWER_HEADER, ENTRY_HEADER, PENDING } from '../../wire/names.ts';
import type { Arrival } from '../arrival.ts';
import { etagOf } from '../stored-answer.ts';
import { sendPieces } from '../stored-body.ts';
import { refuse } from './answer.ts';
import { CHECKSUM } from './checksums.ts';

/** Of the headers of a PUT, those that S3 gives back with the object. */
const KEPT =
  /^(content-type|content-encoding|content-disposition|content-language|cache-control|expires|x-amz-meta-.+|x-amz-storage-class|x-amz-website-redirect-location|x-amz-server-side-encryption(?!-customer-key$|-context$).*)$/;

/** A header that the query of a GET may set, as `response-content-type` does. */
const OVERRIDE =
  /^response-(content-type|content-encoding|content-disposition|content-language|cache-control|expires)$/;

/** false: the entry has left meanwhile, and nothing was said yet. Rejects with S3Refused, and with the store's errors. */
export async function sendObject(
  store: Store,
  { request, response }: Arrival,
  query: ReadonlyMap<string, string>,
  entry: Entry,
): Promise<boolean> {
  const headers = headersOf(entry, request.headers['x-amz-checksum-mode'] === 'ENABLED');
  const condition = failing(request.headers, entry);
  if (condition === 304) {
    response.writeHead(304, { ETag: etagOf(entry), 'Last-Modified': headers['Last-Modified']! });
    response.end();
    return true;
  }
  if (condition === 412)
    throw refuse(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  for (const [name, value] of query) {
    const overridden = OVERRIDE.exec(name)?.[1];
    if (overridden) headers[overridden] = value;
  }
  const range = rangeOf(request.headers.range, entry.bytes);
  const { start, end } = range ?? { start: 0, end: entry.bytes };
  headers['Content-Length'] = String(end - start);
  if (range) headers['Content-Range'] = `bytes ${start}-${end - 1}/${entry.bytes}`;
  const pieces = store.read(entry, { start, end })[Symbol.asyncIterator]();
  let first: IteratorResult<Buffer> | undefined;
  try {
    if (request.method !== 'HEAD') first = await pieces.next();
  } catch (error) {
    if (error instanceof LaybyError && error.code === 'LAYBY_ENTRY_UNKNOWN') return false;
    throw error;
  }
  response.writeHead(range ? 206 : 200, headers);
  await sendPieces(response, pieces, first);
  return true;
}

const headersOf = (entry: Entry, checksums: boolean): Record<string, string> => {
  const headers: Record<string, string> = { 'content-type': 'binary/octet-stream' };
  for (let i = 0; i < entry.headers.length; i += 2) {
    const name = entry.headers[i]!.toLowerCase();
    if (KEPT.test(name) || (checksums && CHECKSUM.test(name))) headers[name] = entry.headers[i + 1]!;
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

/** One range, end exclusive; of several S3 gives the whole object. Throws S3Refused where it is outside. */
const rangeOf = (range: string | undefined, bytes: number): { start: number; end: number } | undefined => {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(range ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined;
  const start = first === '' ? Math.max(0, bytes - Number(last)) : Number(first);
  const end = first === '' || last === '' ? bytes : Math.min(bytes, Number(last) + 1);
  if (start < end) return { start, end };
  if (last !== '' && first !== '' && Number(last) < Number(first)) return undefined;
  throw refuse(416, 'InvalidRange', 'The requested range is not satisfiable');
};

const tags = (value: string): string[] => value.split(',').map((tag) => tag.trim().replace(/^W\//, ''));

/** RFC 9110 section 13.2.2. */
const failing = (headers: Arrival['request']['headers'], entry: Entry): 304 | 412 | undefined => {
  const matches = (value: string) =>
    value.trim() === '*' || tags(value).some((tag) => tag === etagOf(entry) || `"${tag}"` === etagOf(entry));
  const changed = Math.floor(entry.receivedAt / 1000) * 1000;
  const since = (value: string | undefined) => (value === undefined ? Number.NaN : Date.parse(value));
  if (headers['if-match'] !== undefined) {
    if (!matches(headers['if-match'])) return 412;
  } else if (changed > since(headers['if-unmodified-since'])) return 412;
  if (headers['if-none-match'] !== undefined) return matches(headers['if-none-match']) ? 304 : undefined;
  return changed <= since(headers['if-modified-since']) ? 304 : undefined;
};
