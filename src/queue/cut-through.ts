// Bodies that Envoy cannot send twice pass the queue also while online. It sends the body on and keeps what has come in a spool:
//
//   the destination answers  → the answer goes to the app, the spool is dropped
//   the way breaks, whenever → the spool goes into the store, the queue reads on, and the app gets a receipt
//
// So the app sees one normal exchange, whatever the moment of the loss (law 7).

import type { Answer, Egress } from '../egress/egress.ts';
import type { EntryHead, EntryWriter } from '../store/store.ts';
import type { Arrival } from './arrival.ts';
import type { ReadBody } from './body.ts';
import { Relay } from './relay.ts';
import { relayAnswer } from './relay-answer.ts';
import type { Spool } from './spool.ts';

export interface CutThrough {
  arrival: Arrival;
  head: EntryHead;
  /** Hands over the body as it is to be sent; the last piece may come late. */
  read: ReadBody;
  /** Its length, bytes, where the app said it. */
  expected: number | undefined;
  egress: Egress;
  spool: Spool;
  /** Asked once, where the way is lost; `why` in words. */
  store: (why: string) => Promise<EntryWriter>;
}

/** The writer has the whole body, and wants a commit: the way broke. undefined: the app has the destination's answer. Rejects with
 *  BodyTorn where the app went away, and with the errors of `read` and of the store; nothing is left of it then. */
export async function cutThrough(cut: CutThrough): Promise<EntryWriter | undefined> {
  const { arrival, head, read, expected, egress, spool, store } = cut;
  const { request, response, destination } = arrival;
  const relay = new Relay();
  const abort = new AbortController();
  let answer: Answer | undefined;
  let broken: string | undefined;
  let writer: EntryWriter | undefined;
  const outgoing = {
    pieces: relay,
    trailers: () => request.rawTrailers,
    ...(expected === undefined ? {} : { bytes: expected }),
  };
  const sent = egress
    .send(destination, head, outgoing, { signal: abort.signal, impatient: true })
    .then(
      (got) => {
        if (got.noLink === undefined) answer = got;
        else {
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
  const lost = async (why: string): Promise<EntryWriter> => {
    writer = await store(why);
    for await (const piece of spool.read()) await writer.write(piece);
    await spool.close();
    return writer;
  };
  const take = (piece: Buffer): Promise<unknown> | undefined => {
    if (writer) return writer.write(piece);
    if (broken !== undefined) return lost(broken).then((made) => made.write(piece));
    const spooled = spool.write(piece);
    const relayed = relay.push(piece);
    return spooled && relayed ? Promise.all([spooled, relayed]) : (spooled ?? relayed);
  };
  try {
    await read(take);
    relay.end();
    await sent;
    if (answer) await relayAnswer(answer, response);
    else writer ??= await lost(broken ?? 'no answer');
    return writer;
  } catch (error) {
    // Nothing may be sent as if it were whole: the connection to the egress listener is cut.
    relay.close();
    abort.abort();
    await sent;
    await writer?.abort();
    throw error;
  } finally {
    await spool.close();
  }
}
