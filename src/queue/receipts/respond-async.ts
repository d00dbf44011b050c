// 202 to an app that prefers not to wait (RFC 7240 section 4.1), with the entry's own resource, where it can ask what became of it.

import type { ServerResponse } from 'node:http';
import type { Entry } from '../../store/store.ts';
import { ENTRIES_PREFIX } from '../../wire/names.ts';

export function respondAsync(response: ServerResponse, entry: Entry): void {
  response.writeHead(202, {
    Location: ENTRIES_PREFIX + entry.id,
    ETag: `"${entry.sha256}"`,
    'Preference-Applied': 'respond-async',
    'Layby-Entry': entry.id,
    'Cache-Control': 'no-store',
    'Content-Length': 0,
  });
  response.end();
}
