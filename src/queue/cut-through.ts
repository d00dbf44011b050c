// Bodies that Envoy cannot send twice pass the queue also while online. It sends the body on and spools it at once:
//
//   the destination answers  → the answer goes to the app, the spool is dropped
//   the way breaks, whenever → the queue reads on, commits, and the app gets a receipt
//
// So the app sees one normal exchange, whatever the moment of the loss (law 7).

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Answer, Egress } from '../egress/egress.ts';
import type { Destination } from '../policy/policy.ts';
import type { EntryWriter } from '../store/store.ts';
import { readBody } from './body.ts';
import { Relay } from './relay.ts';
import { relayAnswer } from './relay-answer.ts';

export interface CutThrough {
  request: IncomingMessage;
  response: ServerResponse;
  destination: Destination;
  writer: EntryWriter;
  egress: Egress;
  /** Body length, bytes, where the app said it. */
  expected: number | undefined;
}

/** `answered`: the app has the destination's answer. `broken`: the whole body is in the writer, and wants a commit.
 *  Rejects with BodyTorn where the app went away, and with the store's errors. */
export async function cutThrough(cut: CutThrough): Promise<'answered' | { broken: string }> {
  const { request, response, destination, writer, egress, expected } = cut;
  const relay = new Relay();
  const abort = new AbortController();
  let answer: Answer | undefined;
  let broken: string | undefined;
  const sent = egress
    .send(
      destination,
      writer.head,
      {
        pieces: relay,
        trailers: () => request.rawTrailers,
        ...(expected === undefined ? {} : { bytes: expected }),
      },
      { signal: abort.signal, impatient: true },
    )
    .then(
      (got) => {
        if (got.noLink === undefined) {
          answer = got;
        } else {
          broken = `no link (${got.noLink})`;
          got.body.resume().on('error', () => {});
        }
      },
      (error: Error) => {
        broken = error.message;
      },
    )
    // An answer before the end of the body also means that nobody takes pieces any more.
    .finally(() => relay.close());
  try {
    await readBody(request, async (piece) => {
      await Promise.all([writer.write(piece), relay.push(piece)]);
    });
    relay.end();
    await sent;
  } catch (error) {
    // Nothing may be sent as if it were whole: the connection to the egress listener is cut.
    relay.close();
    abort.abort();
    await sent;
    throw error;
  }
  if (!answer) return { broken: broken ?? 'no answer' };
  await writer.abort();
  return relayAnswer(answer, response);
}
