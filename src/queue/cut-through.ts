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

/** A rendezvous of one piece: the app is read as fast as the slower of disk and link. */
class Relay {
  #piece: Buffer | undefined;
  #ended = false;
  #closed = false;
  #wake: (() => void) | undefined;
  #taken: (() => void) | undefined;

  /** Resolves when the piece was taken, or when nobody takes pieces any more. */
  push(piece: Buffer): Promise<void> | undefined {
    if (this.#closed) return undefined;
    this.#piece = piece;
    this.#wake?.();
    return new Promise((resolve) => {
      this.#taken = resolve;
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The way out is gone. */
  close(): void {
    this.#closed = true;
    this.#taken?.();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      if (this.#piece) {
        const piece = this.#piece;
        this.#piece = undefined;
        yield piece;
        this.#taken?.();
      } else if (this.#ended) {
        return;
      } else if (this.#closed) {
        throw new Error('the request was given up');
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

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

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

async function relayAnswer(answer: Answer, response: ServerResponse): Promise<'answered'> {
  const headers: string[] = [];
  for (let i = 0; i < answer.headers.length; i += 2) {
    if (!HOP_BY_HOP.has(answer.headers[i]!.toLowerCase()))
      headers.push(answer.headers[i]!, answer.headers[i + 1]!);
  }
  response.sendDate = false;
  response.writeHead(answer.status, headers);
  try {
    for await (const piece of answer.body) {
      if (!response.write(piece)) await new Promise((resolve) => response.once('drain', resolve));
    }
    response.end();
  } catch {
    // The answer broke off: so does ours.
    response.destroy();
  }
  return 'answered';
}
