// 307 with the entry's own resource. No Retry-After (urllib3 would sleep it out), no body (s3cmd re-sends on one), and the
// Location is relative, so that the client stays on this host, where the resource is.

import type { ServerResponse } from 'node:http';
import type { Entry } from '../../store/store.ts';
import { ENTRIES_PREFIX } from '../../wire/names.ts';

export function redirect(response: ServerResponse, entry: Entry): void {
  response.writeHead(307, {
    Location: ENTRIES_PREFIX + entry.id,
    'Layby-Entry': entry.id,
    'Cache-Control': 'no-store',
    'Content-Length': 0,
  });
  response.end();
}
