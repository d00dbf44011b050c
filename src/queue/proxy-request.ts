// Requests that go on to the destination through the egress listener and are never stored: reads, and what only the
// destination can answer.

import type { Egress } from '../egress/egress.ts';
import { type Arrival, headOf } from './arrival.ts';
import { BoundedChannel } from './bounded-channel.ts';
import type { Filing } from './filing.ts';
import { readBody } from './read-body.ts';
import { relayResponse } from './relay-response.ts';
import { type Broken, beforeTheEnd, isUnwanted, UpstreamRequest } from './upstream-request.ts';

/** What goes on, where it is not the request as it came. */
export type ProxiedBody = Pick<Filing, 'head' | 'expected' | 'read'>;

const asItCame = (arrival: Arrival): ProxiedBody => ({
  head: headOf(arrival),
  expected: arrival.expected,
  read: (onChunk) => readBody(arrival, onChunk),
});

/** `answered`: the client has the destination's response. `broken`: the destination was not reached, and the client has nothing yet; what is
 *  left of its body is read and thrown away. A refusal, or a loss, does not wait for the end of the body; a success does, since the rest of
 *  the body may still be wanted. Rejects with ClientDisconnected, and with what `read` rejected with; the upstream request has then ended. */
export async function proxyRequest(
  egress: Pick<Egress, 'send'>,
  arrival: Arrival,
  { head, expected, read }: ProxiedBody = asItCame(arrival),
): Promise<'answered' | Broken> {
  const { request, response, signal, destination, wasReset } = arrival;
  const channel = new BoundedChannel();
  const body = {
    pieces: channel,
    trailers: () => request.rawTrailers,
    ...(expected === undefined ? {} : { bytes: expected }),
  };
  const upstream = new UpstreamRequest(egress, destination, head, body, {
    newConnection: wasReset,
  });
  // After a success the channel is closed by who reads it.
  void upstream.sent.then((sent) => isUnwanted(sent) && channel.close());
  const abort = (): void => upstream.abort();
  signal.addEventListener('abort', abort);
  try {
    const reading = read((chunk) => channel.push(chunk)).then(() => channel.end());
    const early = await beforeTheEnd(reading, upstream.sent, isUnwanted);
    const sent = early ?? (await upstream.sent);
    signal.throwIfAborted();
    if ('broken' in sent) return sent;
    await relayResponse(sent, response, signal);
    if (early) upstream.abort();
    return 'answered';
  } catch (error) {
    upstream.abort();
    await upstream.sent;
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
