// What S3 answers to PutObject and DeleteObject: exactly 200 (204), empty, the ETag of PutObject the MD5 of the body. A
// wrong ETag makes clients send again, so the MD5 is computed while the body is stored.

import type { ServerResponse } from 'node:http';
import type { Entry } from '../../store/store.ts';

export function s3(response: ServerResponse, entry: Entry): void {
  response.writeHead(entry.method === 'DELETE' ? 204 : 200, {
    ...(entry.md5 && entry.method !== 'DELETE' ? { ETag: `"${entry.md5}"` } : {}),
    'Layby-Entry': entry.id,
    'Cache-Control': 'no-store',
    ...(entry.method === 'DELETE' ? {} : { 'Content-Length': 0 }),
  });
  response.end();
}
