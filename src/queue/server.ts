// Where sidecars send the requests of apps: HTTP as the queue needs it.

import { createServer, IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { LingeringResponse } from './lingering-response.ts';

/** Longer than Envoy keeps an idle connection, so that it is Envoy that closes it and no request meets a closing one; ms. */
const KEEP_ALIVE_MS = 75_000;
/** Longer than the sidecar waits for an app's; ms. */
const HEAD_PATIENCE_MS = 30_000;
/** Envoy's own limit is 60 KiB. */
const HEADER_BYTES = 64 * 1024;

/** `serve` is called in the same turn of the event loop in which the request arrives. */
export function queueServer(serve: (request: IncomingMessage, response: ServerResponse) => void): Server {
  const server = createServer(
    {
      // Uploads may last for hours; Envoy closes what is dead.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: HEAD_PATIENCE_MS,
      // A socket is read 64 KiB at a time: one such piece waits for each body, not two.
      highWaterMark: 16 * 1024,
      noDelay: true,
      IncomingMessage,
      ServerResponse: LingeringResponse,
    },
    serve,
  );
  // Past its default of 2,000 fields Node would leave some away without a word; the size is the bound.
  server.maxHeadersCount = 0;
  // It is readBody that tells a client to go on: what is refused is never sent. Any other expectation, an empty one too, is ignored, as RFC 9110
  // section 10.1.1 lets a server do; Node would refuse it with 417.
  for (const event of ['checkContinue', 'checkExpectation']) server.on(event, serve);
  return server;
}
