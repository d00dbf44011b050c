// /.well-known/layby/entries/<id>, where a 307 leads. GET says what became of the entry. Any other method is a client that
// followed the receipt and sends its body again: all of it is read, none of it is stored, and only then comes the 200
// (an earlier answer breaks wget, HttpURLConnection and Python behind Envoy).

import { validate as isUuid } from 'uuid';
import type { Destination } from '../policy/policy.ts';
import type { Entry, Store } from '../store/store.ts';
import { ENTRIES_PREFIX } from '../wire/names.ts';
import type { Arrival } from './arrival.ts';
import { type Problem, sendProblem } from './problem.ts';
import { readBody } from './read-body.ts';

/** An entry as apps and operators see it; no headers, since they may carry secrets. */
export const entryView = (entry: Entry) => ({
  id: entry.id,
  destination: entry.destination,
  method: entry.method,
  url: entry.url,
  bytes: entry.bytes,
  sha256: entry.sha256,
  state: entry.state,
  receivedAt: new Date(entry.receivedAt).toISOString(),
  attempts: entry.attempts,
  lastError: entry.lastError ?? null,
  ...(entry.reason ? { reason: entry.reason } : {}),
});

const UNKNOWN: Problem = {
  status: 404,
  type: 'entry-unknown',
  title: 'No such entry here',
  detail:
    'It was never stored for this destination, or it left so long ago that the audit trail no longer has it.',
};

/** The id that the path names; undefined where it is no entry's path. */
function entryIn(path: string): string | undefined {
  if (!path.startsWith(ENTRIES_PREFIX)) return undefined;
  const id = path.slice(ENTRIES_PREFIX.length).split('?', 1)[0]!;
  return isUuid(id) ? id : undefined;
}

/** Rejects with ClientDisconnected. */
export async function serveEntryPage(arrival: Arrival, store: Store): Promise<void> {
  const { request, response, signal, destination } = arrival;
  await readBody(arrival, () => undefined);
  const id = entryIn(request.url ?? '');
  // Never the success below for what was no receipt: the bytes are gone.
  if (id === undefined) {
    sendProblem(response, UNKNOWN);
    return;
  }
  const entry = await store.get(id);
  // One destination's apps do not see another's entries.
  const visible = entry?.destination === destination.name ? entry : undefined;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    // Also for an entry that has left since: its receipt was kept, and the client is owed a success.
    response.writeHead(200, {
      ...(visible ? { ETag: `"${visible.sha256}"` } : {}),
      'Cache-Control': 'no-store',
      'Content-Length': 0,
    });
    response.end();
    return;
  }
  const view = visible ? entryView(visible) : await lastEvent(store, id, destination, signal);
  if (!view) {
    sendProblem(response, UNKNOWN);
    return;
  }
  const body = `${JSON.stringify(view)}\n`;
  response.writeHead(200, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'Content-Length': Buffer.byteLength(body),
    ...(visible ? { ETag: `"${visible.sha256}"` } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function lastEvent(store: Store, id: string, destination: Destination, signal: AbortSignal) {
  let view: object | undefined;
  for await (const event of store.audit({ id })) {
    signal.throwIfAborted();
    if (event.destination !== destination.name) continue;
    view = {
      id,
      destination: event.destination,
      bytes: event.bytes,
      state: event.kind,
      at: new Date(event.at).toISOString(),
      ...(event.detail ? { detail: event.detail } : {}),
    };
  }
  return view;
}
