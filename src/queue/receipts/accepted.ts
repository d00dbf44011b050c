// 202 with an empty body, for clients that follow no redirect and want no S3. An ETag, since some need one.

import type { ServerResponse } from 'node:http';
import type { Entry } from '../../store/store.ts';

export function accepted(response: ServerResponse, entry: Entry): void {
  response.writeHead(202, {
    ETag: `"${entry.sha256}"`,
    'Layby-Entry': entry.id,
    'Cache-Control': 'no-store',
    'Content-Length': 0,
  });
  response.end();
}
