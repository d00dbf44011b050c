// /.well-known/layby/entries/<id>, where a 307 leads. GET says what became of the entry. Any other method is a client that
// followed the receipt and sends its body again: all of it is read, none of it is stored, and only then comes the 200
// (an earlier answer breaks wget, HttpURLConnection and Python behind Envoy), or the 404 where no such entry is known here.
//
// The page is at the host that the app had called, whichever destination serves that host now, or none: a policy that renames or removes
// a destination takes no receipt back. The apps of one destination do not see the entries of another.

import { validate as isUuid } from 'uuid';
import type { Destination, Policy } from '../policy/policy.ts';
import { authorityOf, hostIn, servesHost } from '../policy/serves.ts';
import type { Entry, Store, StoreEvent } from '../store/store.ts';
import { withoutSecrets } from '../telemetry/secrets.ts';
import { ENTRIES_PREFIX } from '../wire/names.ts';
import { type Problem, sendProblem } from './problem.ts';
import { type BodyOf, readBody } from './read-body.ts';

/** An entry as apps and operators see it; no headers, since they may carry secrets. `secrets`: also those of its URL, for an operator who asks. */
export const entryView = (entry: Entry, secrets = false) => ({
  id: entry.id,
  destination: entry.destination,
  method: entry.method,
  url: secrets ? entry.url : withoutSecrets(entry.url),
  bytes: entry.bytes,
  sha256: entry.sha256,
  state: entry.state,
  receivedAt: new Date(entry.receivedAt).toISOString(),
  attempts: entry.attempts,
  lastError: entry.lastError === undefined ? null : withoutSecrets(entry.lastError),
  ...(entry.reason ? { reason: withoutSecrets(entry.reason) } : {}),
});

const UNKNOWN: Problem = {
  status: 404,
  type: 'entry-unknown',
  title: 'No such entry here',
  detail: 'It was never stored for this host, or it left so long ago that the audit trail no longer has it.',
};

/** The id that the path names; undefined where it is no entry's path. */
function entryIn(path: string): string | undefined {
  if (!path.startsWith(ENTRIES_PREFIX)) return undefined;
  const id = path.slice(ENTRIES_PREFIX.length).split('?', 1)[0]!;
  return isUuid(id) ? id.toLowerCase() : undefined;
}

/** Whom a page is for. */
export interface PageAsked {
  policy: Policy;
  /** The destination that serves the host now, where one does. */
  destination: Destination | undefined;
  /** As the app called it. */
  authority: string;
}

/** Whether the stored URL is at the host that was asked, or at a host of the same destination. */
function isAtHost({ policy, destination, authority }: PageAsked, url: string): boolean {
  const stored = hostIn(authorityOf(url));
  if (destination) return servesHost(policy, destination, stored);
  const asked = hostIn(authority);
  // S3's URLs are stored in path style: `clips.s3.example/key` as `s3.example/clips/key`.
  const [, bucket = ''] = /^http:\/\/[^/]*\/([^/?]*)/.exec(url) ?? [];
  return asked === stored || asked === `${bucket}.${stored}`.toLowerCase();
}

/** Rejects with ClientDisconnected. */
export async function serveEntryPage(body: BodyOf, store: Store, asked: PageAsked): Promise<void> {
  const { request, response, signal } = body;
  await readBody(body, () => undefined);
  const id = entryIn(request.url ?? '');
  // Never the success below for what was no receipt: the bytes are gone.
  if (id === undefined) {
    sendProblem(response, UNKNOWN);
    return;
  }
  const entry = await store.get(id);
  const visible =
    entry && (entry.destination === asked.destination?.name || isAtHost(asked, entry.url))
      ? entry
      : undefined;
  // Also of an entry that has left since: its receipt was kept, and a client that followed it is owed a success.
  const view = visible ? entryView(visible) : await lastEvent(store, id, asked, signal);
  if (!view) {
    sendProblem(response, UNKNOWN);
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(200, {
      ...(visible ? { ETag: `"${visible.sha256}"` } : {}),
      'Cache-Control': 'no-store',
      'Content-Length': 0,
    });
    response.end();
    return;
  }
  const page = `${JSON.stringify(view)}\n`;
  response.writeHead(200, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'Content-Length': Buffer.byteLength(page),
    ...(visible ? { ETag: `"${visible.sha256}"` } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : page);
}

async function lastEvent(store: Store, id: string, asked: PageAsked, signal: AbortSignal) {
  let last: StoreEvent | undefined;
  let visible = false;
  for await (const event of store.audit({ id })) {
    signal.throwIfAborted();
    last = event;
    visible ||= event.destination === asked.destination?.name;
    visible ||= event.url !== undefined && isAtHost(asked, event.url);
  }
  if (!last || !visible) return undefined;
  return {
    id,
    destination: last.destination,
    bytes: last.bytes,
    state: last.kind,
    at: new Date(last.at).toISOString(),
    ...(last.detail ? { detail: withoutSecrets(last.detail) } : {}),
  };
}
