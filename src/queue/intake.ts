// A request of an app, as it comes from a sidecar: stored, cut through, or refused with a reason.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { validate as isUuid } from 'uuid';
import type { Egress } from '../egress/egress.ts';
import { destinationFor } from '../policy/match.ts';
import { CLASSES, type Destination, type Policy } from '../policy/policy.ts';
import { upstreamPath } from '../policy/upstream.ts';
import type { Entry, EntryHead, EntryWriter, Store } from '../store/store.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import { HOST_HEADER, REQUEST_HEADER, STATUS_PREFIX } from '../wire/names.ts';
import type { Backlog } from './backlog.ts';
import { BodyTorn, readBody } from './body.ts';
import { cutThrough } from './cut-through.ts';
import { serveEntryPage } from './entries-page.ts';
import { entryId } from './entry-id.ts';
import { endToEndHeaders } from './headers.ts';
import { sendProblem } from './problem.ts';
import { RECEIPTS, receiptFor } from './receipts/receipt.ts';
import type { Room } from './room.ts';
import { framedBody, isMultipart, NO_LINK, sendS3Error } from './s3/refusal.ts';

/** What the counters call the ways that a request can end. */
export type Outcome = 'receipt' | 'cut_through' | 'page' | 'read' | 'refused' | 'torn' | 'failed';

export interface IntakeOptions {
  store: Store;
  room: Room;
  backlog: Backlog;
  egress: Egress;
  log: Logger;
  policy: () => Policy | undefined;
  linkUp: (destination: string) => boolean;
  count: (destination: string, outcome: Outcome) => void;
}

/** Seconds that a refused app may wait before it asks again. */
const RETRY_AFTER_S = 2;

export class Intake {
  #options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let destination: Destination | undefined;
    let outcome: Outcome;
    try {
      // Set by the sidecar only, on the route that tries the destination first: so the direct way has failed.
      const failedOverFrom = request.headers[HOST_HEADER] as string | undefined;
      const authority = failedOverFrom ?? request.headers.host ?? '';
      const policy = this.#options.policy();
      destination = policy && destinationFor(policy, authority);
      outcome = destination
        ? await this.#serve(request, response, destination, authority, failedOverFrom !== undefined)
        : refuseUnknown(request, response, authority, policy !== undefined);
    } catch (error) {
      outcome = this.#failed(request, response, error);
    }
    this.#options.count(destination?.name ?? '', outcome);
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    destination: Destination,
    authority: string,
    failedOver: boolean,
  ): Promise<Outcome> {
    const path = originalPath(request.url ?? '/', destination, failedOver);
    if (path.startsWith(STATUS_PREFIX)) {
      await serveEntryPage(request, response, this.#options.store, destination);
      return 'page';
    }
    const { mode, methods } = destination.store;
    if (mode === 'never' || !methods.includes(request.method ?? '')) {
      request.resume();
      sendProblem(response, {
        status: 503,
        type: 'no-link',
        title: 'The destination cannot be reached now, and this request is not one to be stored',
        detail: `${request.method} is not stored for ${destination.name}`,
        retryAfter: RETRY_AFTER_S,
      });
      return 'read';
    }
    return this.#store(request, response, destination, `http://${authority}${path}`, failedOver);
  }

  async #store(
    request: IncomingMessage,
    response: ServerResponse,
    destination: Destination,
    url: string,
    failedOver: boolean,
  ): Promise<Outcome> {
    const { room, backlog } = this.#options;
    const { name } = destination;
    const passOnly = isMultipart(destination, url);
    const framed = framedBody(request, destination);
    const length = request.headers['content-length'];
    const expected = length === undefined ? undefined : Number(length);
    const receipt = receiptFor(destination, request);
    const online = !failedOver && this.#mayCutThrough(destination, request);
    if (framed || (passOnly && !online)) {
      request.resume();
      sendS3Error(response, framed ?? NO_LINK);
      return 'refused';
    }
    // Said before the body is read, so that the hold is in force by the time the receipt is due.
    const storing = online ? undefined : backlog.storing(name, failedOver);
    let writer: EntryWriter | undefined;
    let after = storing;
    try {
      writer = await room.begin(destination, headOf(request, destination, url), expected, {
        md5: receipt === 's3',
        owned: !online,
      });
      if (online) {
        const result = await cutThrough({
          request,
          response,
          destination,
          writer,
          egress: this.#options.egress,
          expected,
        });
        if (result === 'answered') return 'cut_through';
        if (passOnly) {
          await writer.abort();
          sendS3Error(response, NO_LINK);
          return 'refused';
        }
        this.#options.log.info(
          { id: writer.head.id, destination: name, why: result.broken },
          'lost in the middle',
        );
        after = backlog.storing(name, true);
      } else {
        const spool = writer;
        await readBody(request, (piece) => spool.write(piece));
      }
      const entry = await writer.commit(request.rawTrailers);
      await after!.held();
      RECEIPTS[receipt](response, entry);
      return 'receipt';
    } catch (error) {
      await writer?.abort();
      const again = await this.#storedBefore(request, error);
      if (!again) throw error;
      await after?.held();
      RECEIPTS[receipt](response, again);
      return 'receipt';
    } finally {
      after?.done();
    }
  }

  /** The queue died between the commit and the receipt, and the sidecar asks again: it is owed the receipt, not a second entry. */
  async #storedBefore(request: IncomingMessage, error: unknown): Promise<Entry | undefined> {
    const id = requestId(request);
    if (!id || !(error instanceof LaybyError) || error.code !== 'LAYBY_ENTRY_EXISTS') return undefined;
    await readBody(request, () => undefined);
    return this.#options.store.get(id);
  }

  /** The link may be there, nothing older waits, and the destination can take the body as it comes. */
  #mayCutThrough(destination: Destination, request: IncomingMessage): boolean {
    const { backlog, linkUp } = this.#options;
    const { name, store, upstream } = destination;
    if (store.mode !== 'failover' || !linkUp(name) || backlog.isFailing(name)) return false;
    if (backlog.isPending(name) && store.order !== 'none') return false;
    // S3 takes no body of unknown length (411).
    return upstream.sign === undefined || request.headers['content-length'] !== undefined;
  }

  #failed(request: IncomingMessage, response: ServerResponse, error: unknown): Outcome {
    if (error instanceof BodyTorn) {
      response.destroy();
      return 'torn';
    }
    const full = error instanceof LaybyError && error.code === 'LAYBY_STORE_FULL';
    if (!full)
      this.#options.log.error({ err: error, method: request.method }, 'a request could not be stored');
    if (response.headersSent) {
      response.destroy();
      return 'failed';
    }
    // What is left of the body is not wanted: the connection goes with it.
    response.shouldKeepAlive = request.complete;
    sendProblem(response, {
      status: full ? 507 : 503,
      type: full ? 'store-full' : 'store-failed',
      title: full ? 'The store has no room for this request' : 'The request could not be stored',
      detail: messageOf(error),
      retryAfter: full ? 30 : RETRY_AFTER_S,
    });
    return full ? 'refused' : 'failed';
  }
}

/** The sidecar puts the path of the upstream's URL before the app's when it tries the destination first. */
function originalPath(path: string, destination: Destination, failedOver: boolean): string {
  if (!failedOver) return path;
  const prefix = upstreamPath(destination);
  return path.startsWith(prefix) ? path.slice(prefix.length) || '/' : path;
}

function headOf(request: IncomingMessage, destination: Destination, url: string): EntryHead {
  const { order, class: className, ttl } = destination.store;
  return {
    id: requestId(request) ?? entryId(),
    destination: destination.name,
    method: request.method ?? 'GET',
    url,
    headers: endToEndHeaders(request.rawHeaders, destination),
    orderKey: order === 'none' ? '' : order === 'strict' ? '*' : orderKey(url),
    class: CLASSES.indexOf(className),
    receivedAt: Date.now(),
    ...(ttl === undefined ? {} : { ttl }),
  };
}

/** The id that the sidecar gave the request. */
function requestId(request: IncomingMessage): string | undefined {
  const id = request.headers[REQUEST_HEADER];
  return typeof id === 'string' && isUuid(id) ? id : undefined;
}

/** Host without port and path without query: the same resource, whatever the method. */
export function orderKey(url: string): string {
  const match = /^http:\/\/([^/]*?)(?::\d+)?(\/[^?]*)/.exec(url);
  return match ? match[1]!.toLowerCase() + match[2]! : url;
}

function refuseUnknown(
  request: IncomingMessage,
  response: ServerResponse,
  authority: string,
  havePolicy: boolean,
): Outcome {
  request.resume();
  sendProblem(response, {
    status: havePolicy ? 421 : 503,
    type: havePolicy ? 'host-unknown' : 'no-policy',
    title: havePolicy ? 'No destination of the policy names this host' : 'The queue has no policy yet',
    detail: authority,
    ...(havePolicy ? {} : { retryAfter: RETRY_AFTER_S }),
  });
  return 'refused';
}
