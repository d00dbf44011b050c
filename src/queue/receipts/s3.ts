// What S3 answers to PutObject, UploadPart and DeleteObject: exactly 200 (204), empty, the ETag the MD5 of the body, and the
// checksum that was verified. A wrong ETag makes clients send again, so the MD5 is computed while the body is stored.

import type { ServerResponse } from 'node:http';
import type { Entry } from '../../store/store.ts';

const CHECKSUM = /^x-amz-checksum-(crc32c?|crc64nvme|sha1|sha256)$/i;

const checksumsOf = ({ headers, url }: Entry): Record<string, string> => {
  const found: Record<string, string> = {};
  for (let i = 0; i < headers.length; i += 2)
    if (CHECKSUM.test(headers[i]!)) found[headers[i]!] = headers[i + 1]!;
  // Of a part S3 says no type: its upload has one.
  if (Object.keys(found).length > 0 && !/[?&]uploadId=/.test(url))
    found['x-amz-checksum-type'] = 'FULL_OBJECT';
  return found;
};

export function s3(response: ServerResponse, entry: Entry): void {
  response.writeHead(entry.method === 'DELETE' ? 204 : 200, {
    ...(entry.md5 && entry.method !== 'DELETE' ? { ETag: `"${entry.md5}"` } : {}),
    ...(entry.method !== 'DELETE' ? checksumsOf(entry) : {}),
    'Layby-Entry': entry.id,
    'Cache-Control': 'no-store',
    ...(entry.method === 'DELETE' ? {} : { 'Content-Length': 0 }),
  });
  response.end();
}
