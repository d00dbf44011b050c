// Requests that go on to the destination through the egress listener and are never stored: reads, and what only the
// destination can answer.

import type { Egress } from '../egress/egress.ts';
import { type Arrival, headOf } from './arrival.ts';
import { BoundedChannel } from './bounded-channel.ts';
import { readBody } from './read-body.ts';
import { relayResponse } from './relay-response.ts';
import { UpstreamRequest } from './upstream-request.ts';

/** `answered`: the client has the destination's response. `broken`: the destination was not reached, the client has nothing yet, and all of
 *  its body was read. Rejects with ClientDisconnected; the upstream request has then ended. */
export async function proxyRequest(
  egress: Pick<Egress, 'send'>,
  arrival: Arrival,
): Promise<'answered' | { broken: string }> {
  const { request, response, signal, destination, expected } = arrival;
  const channel = new BoundedChannel();
  const upstream = new UpstreamRequest(egress, destination, headOf(arrival), {
    pieces: channel,
    trailers: () => request.rawTrailers,
    ...(expected === undefined ? {} : { bytes: expected }),
  });
  void upstream.sent.then(() => channel.close());
  const abort = (): void => upstream.abort();
  signal.addEventListener('abort', abort);
  try {
    await readBody(arrival, (chunk) => channel.push(chunk));
    channel.end();
    const sent = await upstream.sent;
    signal.throwIfAborted();
    return 'broken' in sent ? sent : await relayResponse(sent, response, signal);
  } catch (error) {
    upstream.abort();
    await upstream.sent;
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
