// The door of the queue: whose a request is, and which room answers it. Status pages: entries-page.ts; S3's own ways: s3/;
// what may be stored: storing.ts; what may not: reads.ts.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { destinationFor } from '../policy/match.ts';
import type { Destination, Policy } from '../policy/policy.ts';
import { longestBody, TOO_LONG_TO_SIGN, tooLongToSign } from '../policy/signature.ts';
import { LaybyError, messageOf } from '../telemetry/error.ts';
import { ENTRIES_PREFIX, HOST_HEADER, STATUS_PREFIX } from '../wire/names.ts';
import { type Arrival, arrivalOf, type Outcome, type Surroundings } from './arrival.ts';
import { ClientDisconnected, clientSignal } from './client-signal.ts';
import { serveEntryPage } from './entries-page.ts';
import { RETRY_AFTER_S, sendProblem } from './problem.ts';
import { serveUnstored } from './reads.ts';
import { isFramed } from './s3/payload.ts';
import { isS3, serveS3 } from './s3/serve.ts';
import { storeRequest } from './storing.ts';

export interface IntakeOptions extends Surroundings {
  policy: () => Policy | undefined;
  count: (destination: string, outcome: Outcome) => void;
}

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
      if (policy && destination) {
        const arrival = arrivalOf(request, response, destination, authority, failedOverFrom !== undefined);
        outcome = await this.#serve(arrival, policy, authority);
      } else if (policy && request.url?.startsWith(ENTRIES_PREFIX)) {
        const asked = { policy, destination: undefined, authority };
        const signal = clientSignal(request, response);
        await serveEntryPage({ request, response, signal }, this.#options.store, asked);
        outcome = 'page';
      } else outcome = refuseUnknown(request, response, authority, policy !== undefined);
    } catch (error) {
      outcome = this.#failed(request, response, error);
    }
    this.#options.count(destination?.name ?? '', outcome);
  }

  async #serve(arrival: Arrival, policy: Policy, authority: string): Promise<Outcome> {
    const { request, destination, path } = arrival;
    if (!path.startsWith('/')) return refusePath(arrival);
    if (path.startsWith(STATUS_PREFIX)) {
      await serveEntryPage(arrival, this.#options.store, { policy, destination, authority });
      return 'page';
    }
    if ((arrival.expected ?? 0) > (longestBody(arrival.destination) ?? Number.POSITIVE_INFINITY))
      return refuseTooLong(arrival);
    const { mode, methods } = destination.store;
    // What is framed must be taken apart, also where nothing is stored.
    if (isS3(arrival) && (mode !== 'never' || isFramed(request))) return serveS3(this.#options, arrival);
    const storable = mode !== 'never' && methods.includes(request.method ?? '');
    return storable ? storeRequest(this.#options, arrival) : serveUnstored(this.#options, arrival);
  }

  #failed(request: IncomingMessage, response: ServerResponse, error: unknown): Outcome {
    if (error instanceof ClientDisconnected) {
      response.destroy();
      return 'torn';
    }
    const code = error instanceof LaybyError ? error.code : undefined;
    const full = code === 'LAYBY_STORE_FULL';
    const tooLong = code === 'LAYBY_BODY_TOO_LONG';
    if (!full && !tooLong)
      this.#options.log.error({ err: error, method: request.method }, 'a request could not be stored');
    if (response.headersSent) {
      response.destroy();
      return 'failed';
    }
    if (tooLong) {
      sendProblem(response, { ...TOO_LONG_TO_SIGN, detail: messageOf(error) });
      return 'refused';
    }
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

/** `*`, or an absolute form: the sidecar sends none, and joined to the host it would name another resource. */
function refusePath({ request, response, path }: Arrival): Outcome {
  request.resume();
  sendProblem(response, {
    status: 400,
    type: 'path-invalid',
    title: 'The path does not begin with "/"',
    detail: path,
  });
  return 'refused';
}

/** The body is read, and dropped: the sidecar would take a connection that ends in the middle of it for a queue that is gone. */
function refuseTooLong({ request, response, destination }: Arrival): Outcome {
  request.resume();
  sendProblem(response, { ...TOO_LONG_TO_SIGN, detail: tooLongToSign(destination) });
  return 'refused';
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
