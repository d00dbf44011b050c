// A request of an app at the queue's door: whose it is, what the app had called, and what is to be stored of it.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { validate as isUuid } from 'uuid';
import type { Egress } from '../egress/egress.ts';
import { RESET_WITHIN_MS } from '../egress/reconnect.ts';
import { inForce } from '../policy/in-force.ts';
import { CLASSES, type Destination } from '../policy/policy.ts';
import type { DeliveryLedgers } from '../replay/delivery-ledgers.ts';
import type { Replay } from '../replay/replay.ts';
import { resourceOf } from '../store/resource.ts';
import type { EntryHead, Store } from '../store/store.ts';
import type { Logger } from '../telemetry/log.ts';
import { APPS_HEADER, FAILED_HEADER, IDEMPOTENT, PREFIX_HEADER, REQUEST_HEADER } from '../wire/names.ts';
import type { Backlog } from './backlog.ts';
import { clientSignal } from './client-signal.ts';
import { entryId } from './entry-id.ts';
import type { FormerLanes } from './former-lanes.ts';
import { endToEndHeaders } from './headers.ts';
import type { OneByOne } from './one-by-one.ts';
import { withoutSignature } from './presigned.ts';
import type { Room } from './room.ts';
import type { Spools } from './spool.ts';

/** What the counters call the ways that a request can end. */
export type Outcome = 'receipt' | 'cut_through' | 'page' | 'read' | 'refused' | 'torn' | 'failed';

export interface Arrival {
  request: IncomingMessage;
  response: ServerResponse;
  /** Aborted with ClientDisconnected when the client hangs up before its response is finished. Whatever waits on behalf of the client ends
   *  with it, and whatever outlives the client does not take it. */
  signal: AbortSignal;
  /** As it is for this request. */
  destination: Destination;
  /** The keys of the selections of apps that its app is in: see policy/in-force.ts. */
  apps: string[];
  /** Path and query as the app called them; to S3 in path style. Of a presigned URL that is to be signed anew, without its signature. */
  path: string;
  /** What such a URL said in its query instead of in headers: names and values in turn. */
  headersInQuery?: string[];
  /** The path that rules judge, where it is not that one. */
  judgedPath?: string;
  /** `http://authority/path?query`, as the app called it. */
  url: string;
  /** The sidecar tried the destination first, and did not reach it. */
  failedOver: boolean;
  /** The sidecar tried the destination first, and that failed too fast for a lost link: the server had closed the connection, it seems. The
   *  destination is asked once more, over a new one. */
  wasReset: boolean;
  /** Body length, bytes, where the app said it. */
  expected: number | undefined;
}

/** What is around a request in the queue. */
export interface Surroundings {
  store: Store;
  room: Room;
  backlog: Backlog;
  ledgers: DeliveryLedgers;
  /** What waits for a resource, whichever destination it is stored for. */
  former: Pick<FormerLanes, 'of' | 'occupied' | 'waitingFor' | 'entriesOf'>;
  /** Of what may become one object, by destination and resource. */
  commits: OneByOne;
  egress: Egress;
  spools: Spools;
  log: Logger;
  linkUp: (destination: string) => boolean;
  replay: Pick<Replay, 'adopt' | 'deliverNow' | 'follow' | 'grows' | 'tookOther' | 'wake'>;
}

export function arrivalOf(
  request: IncomingMessage,
  response: ServerResponse,
  destination: Destination,
  authority: string,
  wasTried: boolean,
): Arrival {
  const called = originalPath(request, wasTried);
  const apps = appsOf(request);
  const here = inForce(destination, { method: request.method ?? 'GET', path: called, apps });
  const { path, headers } = withoutSignature(here, called);
  const length = request.headers['content-length'];
  const chunked = request.headers['transfer-encoding'] !== undefined;
  const wasReset = wasTried && failedWithin(request) < RESET_WITHIN_MS && mayAskAgain(request, here);
  return {
    request,
    response,
    signal: clientSignal(request, response),
    destination: here,
    apps,
    path,
    ...(headers.length > 0 && { headersInQuery: headers }),
    url: `http://${authority}${path}`,
    failedOver: wasTried && !wasReset,
    wasReset,
    // RFC 9112 section 6.3: a request with neither header has no body.
    expected: length !== undefined ? Number(length) : chunked ? undefined : 0,
  };
}

/** The sidecar puts the path of the upstream's URL before the app's when it tries the destination first. */
function originalPath({ url = '/', headers }: IncomingMessage, wasTried: boolean): string {
  const prefix = headers[PREFIX_HEADER];
  if (!wasTried || typeof prefix !== 'string') return url;
  return url.startsWith(prefix) ? url.slice(prefix.length) || '/' : url;
}

function mayAskAgain({ method = '', headers }: IncomingMessage, { retries }: Destination): boolean {
  // With `retries` it may also have been an answer that does not count.
  return retries === undefined && (IDEMPOTENT.includes(method) || headers['idempotency-key'] !== undefined);
}

/** How long the direct path took to fail, ms; Infinity: not known. */
function failedWithin({ headers }: IncomingMessage): number {
  const [came, failed] = String(headers[FAILED_HEADER] ?? '')
    .split(' ', 2)
    .map(Number);
  const took = (failed ?? Number.NaN) - (came ?? Number.NaN);
  // The clock may have been set meanwhile.
  return took >= 0 ? took : Number.POSITIVE_INFINITY;
}

/** Set by the sidecar only. */
function appsOf({ headers }: IncomingMessage): string[] {
  const keys = headers[APPS_HEADER];
  return typeof keys === 'string' && keys !== '' ? keys.split(',') : [];
}

export function headOf(arrival: Arrival): EntryHead {
  const { request, destination, apps, url, judgedPath, headersInQuery = [] } = arrival;
  const { class: className, ttl } = destination.store;
  return {
    id: requestId(request) ?? entryId(),
    destination: destination.name,
    method: request.method ?? 'GET',
    url,
    headers: [...endToEndHeaders(request.rawHeaders, destination), ...headersInQuery],
    orderKey: orderKeyOf(destination, url),
    class: CLASSES.indexOf(className),
    receivedAt: Date.now(),
    ...(ttl === undefined ? {} : { ttl }),
    ...(apps.length === 0 ? {} : { apps }),
    ...(judgedPath === undefined ? {} : { judgedPath }),
  };
}

/** Requests with one key keep their order; '' has none. */
export function orderKeyOf({ store: { order } }: Destination, url: string): string {
  return order === 'none' ? '' : order === 'strict' ? '*' : resourceOf(url);
}

/** The id that the sidecar gave the request. */
export function requestId(request: IncomingMessage): string | undefined {
  const id = request.headers[REQUEST_HEADER];
  return typeof id === 'string' && isUuid(id) ? id : undefined;
}
