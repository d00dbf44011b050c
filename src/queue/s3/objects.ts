// GetObject and HeadObject of what waits: answered from the store as S3 would answer when it has arrived.

import type { Entry, Store } from '../../store/store.ts';
import { LaybyError } from '../../telemetry/error.ts';
import { ANSWER_HEADER, ENTRY_HEADER, PENDING } from '../../wire/names.ts';
import type { Arrival } from '../arrival.ts';
import { rangeOf, verdictOn } from '../conditions.ts';
import { etagOf } from '../stored-answer.ts';
import { type BegunChunks, streamResponse, withFirstChunk } from '../stream-response.ts';
import { preconditionFailed, refuse } from './answer.ts';
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
  { request, response, signal }: Arrival,
  query: ReadonlyMap<string, string>,
  entry: Entry,
): Promise<boolean> {
  const headers = headersOf(entry, request.headers['x-amz-checksum-mode'] === 'ENABLED');
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
  const range = rangeOf(request.headers, etagOf(entry), entry.bytes);
  if (range === 'none') throw refuse(416, 'InvalidRange', 'The requested range is not satisfiable');
  const { start, end } = range === 'all' ? { start: 0, end: entry.bytes } : range;
  headers['Content-Length'] = String(end - start);
  if (range !== 'all') headers['Content-Range'] = `bytes ${start}-${end - 1}/${entry.bytes}`;
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
