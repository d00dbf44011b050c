// Requests that go on to the destination through the egress listener and are never stored: reads, and what only the
// destination can answer.

import type { Egress } from '../egress/egress.ts';
import { type Arrival, headOf } from './arrival.ts';
import { readBody } from './body.ts';
import { Relay } from './relay.ts';
import { relayAnswer } from './relay-answer.ts';
import { Upload } from './upload.ts';

/** `answered`: the app has the destination's answer. `broken`: it was not reached, the app has nothing yet, and all of its body
 *  was read. Rejects with BodyTorn where the app went away. */
export async function passOn(egress: Egress, arrival: Arrival): Promise<'answered' | { broken: string }> {
  const { request, response, destination, expected } = arrival;
  const relay = new Relay();
  const upload = new Upload(egress, destination, headOf(arrival), {
    pieces: relay,
    trailers: () => request.rawTrailers,
    ...(expected === undefined ? {} : { bytes: expected }),
  });
  void upload.sent.then(() => relay.close());
  const gone = () => upload.abort();
  response.on('close', gone);
  try {
    await readBody(request, (piece) => relay.push(piece));
    relay.end();
  } catch (error) {
    relay.close();
    upload.abort();
    await upload.sent;
    throw error;
  }
  const sent = await upload.sent;
  response.off('close', gone);
  return 'broken' in sent ? sent : relayAnswer(sent, response);
}
