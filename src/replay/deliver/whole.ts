// One request, the whole body in it. What its answer means is for the strategies that send so.

import { messageOf } from '../../telemetry/error.ts';
import { textOf } from './answer-text.ts';
import type { Result, Try } from './deliver.ts';
import { beginOnce, OutgoingBody } from './outgoing-body.ts';

export interface WholeRequestAnswer {
  kind: 'answer';
  status: number;
  /** Names and values in turn. */
  headers: string[];
  /** The beginning of the answer's body. */
  text: string;
}

export async function sendWhole(attempt: Try): Promise<WholeRequestAnswer | (Result & { kind: 'no-link' })> {
  const { egress, destination, entry, body, signal, goodput, impatient = false } = attempt;
  const begin = beginOnce(attempt);
  const outgoing = new OutgoingBody(attempt, {}, begin);
  const began = performance.now();
  const grew = !body.whole;
  try {
    if (body.length === 0) begin();
    const { length: bytes } = body;
    const answer = await egress.send(
      destination,
      entry,
      { ...(bytes !== undefined && { bytes }), pieces: outgoing.pieces(), trailers: () => body.trailers },
      { signal, impatient },
    );
    // An answer that breaks off was still an answer.
    const { text } = await textOf(answer.body);
    const { moved } = outgoing;
    if (answer.noLink !== undefined) return { kind: 'no-link', words: `no link (${answer.noLink})`, moved };
    // How fast an app brings its body says nothing of the way.
    if (!grew && moved === body.bytes) goodput.note(moved, performance.now() - began);
    return { kind: 'answer', status: answer.status, headers: answer.headers, text };
  } catch (error) {
    if (outgoing.damage) throw outgoing.damage;
    return { kind: 'no-link', words: messageOf(error), moved: outgoing.moved };
  }
}
