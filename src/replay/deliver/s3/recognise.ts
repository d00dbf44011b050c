// Whether what is at the key now is what we sent: for a completion, or a conditional PUT, whose answer was lost. A HEAD, and nothing
// is sent again for it.

import { createHash } from 'node:crypto';
import { headerOf } from '../../../wire/headers.ts';
import { WayLost } from '../ask.ts';
import type { Try } from '../deliver.ts';
import type { S3Answer, S3Calls } from './calls.ts';
import { ENTRY_METADATA, partHeaders } from './headers.ts';
import { isPageHead } from './plausible.ts';

export interface Expected {
  /** CRC32C of the body, base64. */
  crc32c?: string | undefined;
  /** The ETag that S3 would give, without quotes. */
  etag?: string | undefined;
}

/** As S3 makes it from the ETags of the parts; undefined where they are no MD5s. */
export function etagOfParts(etags: readonly string[]): string | undefined {
  if (etags.length === 0 || !etags.every((etag) => MD5.test(etag))) return undefined;
  const sum = createHash('md5')
    .update(Buffer.from(etags.join(''), 'hex'))
    .digest('hex');
  return `${sum}-${etags.length}`;
}

const MD5 = /^[0-9a-f]{32}$/;

/** `unreadable`: our credentials may write and not look. An answer: S3 cannot say now. Rejects with WayLost, also where the answer is
 *  none of S3's. */
export async function recognise(
  calls: S3Calls,
  { entry, body }: Try,
  expected: Expected,
): Promise<'ours' | 'another' | 'none' | 'unreadable' | S3Answer> {
  const answer = await calls.call({
    method: 'HEAD',
    headers: [...partHeaders(entry.headers), 'x-amz-checksum-mode', 'ENABLED'],
  });
  // An answer to HEAD has no body to judge. Taken for S3's, it would let an upload that is whole begin again.
  if (answer.status >= 400 && isPageHead(answer.headers))
    throw new WayLost(
      `the answer does not look like S3's: ${answer.status} with text/html; a captive portal?`,
    );
  if (answer.status === 404) return 'none';
  if (answer.status === 403) return 'unreadable';
  if (answer.status !== 200) return answer;
  const header = (name: string): string | undefined => headerOf(answer.headers, name);
  if (Number(header('content-length')) !== body.bytes) return 'another';
  if (header(ENTRY_METADATA) === entry.id) return 'ours';
  const crc32c = header('x-amz-checksum-crc32c');
  if (crc32c !== undefined && crc32c === expected.crc32c) return 'ours';
  const etag = (header('etag') ?? '').replace(/^"|"$/g, '');
  if (etag !== '' && etag === expected.etag) return 'ours';
  if (!MD5.test(etag)) return 'another';
  let { md5 } = body;
  if (md5 === undefined) {
    const hash = createHash('md5');
    for await (const piece of body.read()) hash.update(piece);
    md5 = hash.digest('hex');
  }
  return md5 === etag ? 'ours' : 'another';
}
