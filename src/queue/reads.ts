// What the policy does not let be stored, reads for the most part. In this order:
//
//   the newest entry that waits for this very URL is a PUT     its body, as an answer of the destination would be
//                                              … is a DELETE   404: it is gone as far as this app knows
//   the way may be free                                        passed on: the destination answers with what it has
//   else                                                       503, with a short Retry-After
//
// So an app reads what it wrote, while that waits. What a POST or PATCH makes of a resource only the destination knows: it
// hides what is below it. An entry that was sent with credentials is shown to who bears the same ones (credentials.ts).

import type { Entry, Store } from '../store/store.ts';
import { LaybyError } from '../telemetry/error.ts';
import type { Arrival, Outcome, Surroundings } from './arrival.ts';
import { bearsCredentialsOf } from './credentials.ts';
import { RETRY_AFTER_S, sendProblem } from './problem.ts';
import { proxyRequest } from './proxy-request.ts';
import { answerFrom, isWhole, type StoredAnswer } from './stored-answer.ts';
import { mayReach } from './storing.ts';
import { streamResponse, withFirstChunk } from './stream-response.ts';

/** So many entries of one resource are looked at for one with the same query. */
const LOOKED_AT = 64;

export async function serveUnstored(around: Surroundings, arrival: Arrival): Promise<Outcome> {
  const { request, response, destination } = arrival;
  const { method = '' } = request;
  const isRead = method === 'GET' || method === 'HEAD';
  if (isRead && destination.store.reads !== 'never') {
    const entry = await newest(around.former, arrival);
    if (entry && (await serveStored(around.store, arrival, method, entry))) return 'read';
  }
  if (mayReach(around, arrival) && (isRead || (await overtakesNothing(around, arrival)))) {
    const proxied = await proxyRequest(around.egress, arrival);
    if (proxied === 'answered') return 'cut_through';
    if (proxied.isInvalid) {
      sendProblem(response, {
        status: 502,
        type: 'answer-invalid',
        title: 'What the destination answered is not HTTP',
        detail: proxied.broken,
        retryAfter: RETRY_AFTER_S,
      });
      return 'failed';
    }
  }
  request.resume();
  sendProblem(response, {
    status: 503,
    type: 'no-link',
    title: 'The destination cannot be reached now, and this request is not one to be stored',
    detail: `${method} is not stored for ${destination.name}`,
    retryAfter: RETRY_AFTER_S,
  });
  return 'read';
}

/** The newest entry that waits for exactly this URL and says what is there now. */
export async function newest(
  former: Surroundings['former'],
  { request, destination, url, path }: Arrival,
): Promise<Entry | undefined> {
  if (!former.occupied(destination.name, url)) return undefined;
  let looked = 0;
  for await (const entry of former.waitingFor(destination.name, url)) {
    if (++looked > LOOKED_AT) return undefined;
    if (entry.url.slice(entry.url.indexOf('/', 'http://'.length)) !== path) continue;
    return bearsCredentialsOf(entry, request.rawHeaders, path) &&
      (entry.method === 'DELETE' || isWhole(entry))
      ? entry
      : undefined;
  }
  return undefined;
}

/** false: nothing was sent, since the entry is gone or damaged. */
export async function serveStored(
  store: Store,
  arrival: Arrival,
  method: 'GET' | 'HEAD',
  entry: Entry,
): Promise<boolean> {
  const { request, response } = arrival;
  if (entry.method === 'DELETE') {
    request.resume();
    sendProblem(response, {
      status: 404,
      type: 'entry-deleted',
      title: 'It was deleted; the deletion waits to be sent',
      entry: entry.id,
    });
    return true;
  }
  const answer = answerFrom(entry, method, request.headers);
  if (!answer.range) {
    request.resume();
    response.writeHead(answer.status, answer.headers);
    response.end();
    return true;
  }
  return sendBody(store, arrival, entry, answer, answer.range);
}

async function sendBody(
  store: Store,
  { request, response, signal }: Arrival,
  entry: Entry,
  { status, headers }: StoredAnswer,
  range: { start: number; end: number },
): Promise<boolean> {
  // Before the head of the answer, so that another answer can still be given.
  const chunks = await withFirstChunk(store.read(entry, range)).catch((error: unknown) => {
    if (error instanceof LaybyError) return undefined;
    throw error;
  });
  if (!chunks) return false;
  request.resume();
  response.writeHead(status, headers);
  await streamResponse(response, chunks, signal);
  return true;
}

/** It changes something, though the policy does not let it be stored: what is stored goes first. */
async function overtakesNothing({ backlog, former }: Surroundings, { destination, url }: Arrival) {
  const { name } = destination;
  const { order } = destination.store;
  if (order === 'none' || !backlog.isPending(name)) return true;
  return order === 'key' && !(await former.occupied(name, url));
}
