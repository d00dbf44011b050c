// A request to end a multipart upload that the app had begun by itself, where S3 knows no such upload: it may be what we have asked for
// before, and the answer was lost.

import { headerOf } from '../../../wire/headers.ts';
import type { Try } from '../deliver.ts';
import type { S3Answer, S3Calls } from './calls.ts';
import { partHeaders } from './headers.ts';
import { statusOf } from './outcome.ts';
import { etagOfParts } from './recognise.ts';
import { etagsIn } from './xml.ts';

/** 10,000 parts with their checksums are less. */
const LIST_BYTES = 4 * 1024 * 1024;

/** `done`: what was asked for is so. An answer: S3 cannot say now. Rejects with WayLost, or what the store says. */
export async function settleOwnUpload(
  calls: S3Calls,
  { entry, body }: Try,
): Promise<'done' | 'unknown' | S3Answer> {
  if (entry.method === 'DELETE') return 'done';
  if (entry.method !== 'POST' || body.bytes > LIST_BYTES) return 'unknown';
  const pieces: Buffer[] = [];
  for await (const piece of body.read()) pieces.push(piece);
  const expected = etagOfParts(etagsIn(Buffer.concat(pieces).toString()));
  if (expected === undefined) return 'unknown';
  const answer = await calls.call({ method: 'HEAD', headers: partHeaders(entry.headers) });
  if (answer.status >= 500 || answer.status === 429) return answer;
  const etag = (headerOf(answer.headers, 'etag') ?? '').replace(/^"|"$/g, '');
  return answer.status === 200 && etag === expected ? 'done' : 'unknown';
}

/** Of an upload with an id, and the id is of none. */
export const isOwnUploadGone = (
  { url }: { url: string },
  { status, error }: Pick<S3Answer, 'status' | 'error'>,
): boolean =>
  /[?&]uploadId=/.test(url) &&
  !/[?&]partNumber=/.test(url) &&
  statusOf(status, error) === 404 &&
  error?.code === 'NoSuchUpload';
