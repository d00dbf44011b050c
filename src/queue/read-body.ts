// The body of a request, chunk by chunk, with backpressure.

import type { Arrival } from './arrival.ts';
import { ClientDisconnected } from './client-signal.ts';

/** Takes a chunk; a promise if the next chunk has to wait for it. */
export type OnChunk = (chunk: Buffer) => Promise<unknown> | undefined;
/** Passes a whole body to `onChunk`. Rejects with ClientDisconnected, or with what `onChunk` rejected with. */
export type ReadBody = (onChunk: OnChunk) => Promise<void>;

/** Whose body it is. `expected`: 0 where it has none, and nothing is waited for. */
export type BodyOf = Pick<Arrival, 'request' | 'response' | 'signal'> & { expected?: number | undefined };

/** Calls `onChunk` for each chunk, one at a time and in order; not at all if the body was read before. Rejects with ClientDisconnected
 *  if the client hangs up before all of its body was read, and with what `onChunk` rejected with. What is left of the body may
 *  then still be read, and the response may be sent. */
export async function readBody(
  { request, response, signal, expected }: BodyOf,
  onChunk: OnChunk,
): Promise<void> {
  if (request.readableEnded) return;
  signal.throwIfAborted();
  if (expected === 0) return;
  if (expectsContinue(request)) response.writeContinue();
  // A small body is here already. It is taken without an iterator, whose listeners would cost more than the body.
  for (let chunk = request.read() as Buffer | null; chunk !== null; chunk = request.read() as Buffer | null) {
    const taken = onChunk(chunk);
    if (!taken) continue;
    await taken;
    signal.throwIfAborted();
  }
  if (request.complete) return;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      const taken = onChunk(chunk);
      if (taken) await taken;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
  if (!request.complete) throw new ClientDisconnected();
}

/** A client that asks first is told to go on when its body is wanted, and not before: a body that is refused is never sent
 *  (RFC 9110 section 10.1.1). */
function expectsContinue({ headers, httpVersion, complete, readableDidRead }: BodyOf['request']): boolean {
  return (
    headers.expect !== undefined &&
    /(?:^|\W)100-continue(?:$|\W)/i.test(headers.expect) &&
    httpVersion === '1.1' &&
    !complete &&
    !readableDidRead
  );
}
