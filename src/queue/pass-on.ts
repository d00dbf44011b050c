// Requests that go on to the destination through the egress listener and are never stored: reads, and what only the
// destination can answer.

import type { Answer, Egress } from '../egress/egress.ts';
import { type Arrival, headOf } from './arrival.ts';
import { readBody } from './body.ts';
import { Relay } from './relay.ts';
import { relayAnswer } from './relay-answer.ts';

/** `answered`: the app has the destination's answer. `broken`: it was not reached, the app has nothing yet, and all of its body
 *  was read. Rejects with BodyTorn where the app went away. */
export async function passOn(egress: Egress, arrival: Arrival): Promise<'answered' | { broken: string }> {
  const { request, response, destination, expected } = arrival;
  const relay = new Relay();
  const abort = new AbortController();
  const gone = () => abort.abort();
  response.on('close', gone);
  const outgoing = {
    pieces: relay,
    trailers: () => request.rawTrailers,
    ...(expected === undefined ? {} : { bytes: expected }),
  };
  const answered: Promise<Answer | { broken: string }> = egress
    .send(destination, headOf(arrival), outgoing, { signal: abort.signal, impatient: true })
    .then(
      (answer) => {
        if (answer.noLink === undefined) return answer;
        answer.body.resume().on('error', () => {});
        return { broken: `no link (${answer.noLink})` };
      },
      (error: Error) => ({ broken: error.message }),
    )
    .finally(() => relay.close());
  try {
    await readBody(request, (piece) => relay.push(piece));
    relay.end();
  } catch (error) {
    relay.close();
    abort.abort();
    await answered;
    throw error;
  }
  const answer = await answered;
  response.off('close', gone);
  return 'broken' in answer ? answer : relayAnswer(answer, response);
}
