// One AbortSignal for each request: everything that is done or waited for on behalf of a client ends when the client hangs up.

import type { IncomingMessage, ServerResponse } from 'node:http';

/** The client closed its connection before its response was finished. Nobody waits for the response. */
export class ClientDisconnected extends Error {
  override name = 'ClientDisconnected';

  constructor() {
    super('the client closed the connection');
  }
}

/** Aborted with ClientDisconnected when the client hangs up before its response is finished. Made in the same turn of the event loop
 *  in which the request arrives: a `close` that comes before somebody listens is not seen by anybody. While a body is held back
 *  by backpressure, the kernel reports a lost connection only with the next read or write. */
export function clientSignal(request: IncomingMessage, response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort(new ClientDisconnected());
  response.once('close', () => {
    if (!response.writableFinished) abort();
  });
  // Node emits an error only where somebody listens, and a stream that is no socket's throws it where nobody does.
  request.on('error', abort);
  request.once('close', () => {
    if (!request.complete) abort();
  });
  return controller.signal;
}

/** Settles as `work` does, or rejects with the signal's reason if the signal is aborted first. `work` is not cancelled. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  return promise;
}
