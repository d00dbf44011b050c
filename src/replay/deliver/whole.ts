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
  const { egress, destination, entry, signal, goodput } = attempt;
  const begin = beginOnce(attempt);
  const body = new OutgoingBody(attempt, {}, begin);
  const began = performance.now();
  try {
    if (entry.bytes === 0) begin();
    const answer = await egress.send(
      destination,
      entry,
      { bytes: entry.bytes, pieces: body.pieces(), trailers: () => entry.trailers },
      { signal },
    );
    // An answer that breaks off was still an answer.
    const { text } = await textOf(answer.body);
    const { moved } = body;
    if (answer.noLink !== undefined) return { kind: 'no-link', words: `no link (${answer.noLink})`, moved };
    if (moved === entry.bytes) goodput.note(moved, performance.now() - began);
    return { kind: 'answer', status: answer.status, headers: answer.headers, text };
  } catch (error) {
    if (body.damage) throw body.damage;
    return { kind: 'no-link', words: messageOf(error), moved: body.moved };
  }
}
