// One request, the whole body in it. What its answer means is for the strategies that send so.

import { createHash } from 'node:crypto';
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
  /** The body did not break off. */
  whole: boolean;
  /** Of the request's body where it was asked for, lower-case hex; undefined: not all of it was sent. */
  md5: string | undefined;
}

export interface WholeRequestOptions {
  /** How much of the answer's body is kept, bytes; default: ANSWER_KEPT. */
  kept?: number;
  /** The MD5 of the request's body is wanted. */
  md5?: boolean;
}

export async function sendWhole(
  attempt: Try,
  { kept, md5: hashes = false }: WholeRequestOptions = {},
): Promise<WholeRequestAnswer | (Result & { kind: 'no-link' })> {
  const { egress, destination, entry, body, signal, goodput, impatient = false, expect = false } = attempt;
  const begin = beginOnce(attempt);
  const outgoing = new OutgoingBody(attempt, {}, begin);
  // Of an entry put together from parts the MD5 that is known is not that of the body.
  const known = /^[0-9a-f]{32}$/.test(body.md5 ?? '') ? body.md5 : undefined;
  const hash = hashes && known === undefined ? createHash('md5') : undefined;
  let isSent = false;
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const piece of outgoing.pieces()) {
      hash?.update(piece);
      yield piece;
    }
    isSent = true;
  }
  const began = performance.now();
  const grew = !body.whole;
  try {
    if (body.length === 0) begin();
    const { length: bytes } = body;
    const answer = await egress.send(
      destination,
      entry,
      { ...(bytes !== undefined && { bytes }), pieces: hashed(), trailers: () => body.trailers },
      { signal, impatient, expect },
    );
    // An answer that breaks off was still an answer.
    const { text, whole } = await textOf(answer.body, kept);
    const { moved } = outgoing;
    if (answer.noLink !== undefined) return { kind: 'no-link', words: `no link (${answer.noLink})`, moved };
    // How fast an app brings its body says nothing of the way.
    if (!grew && moved === body.bytes) goodput.note(moved, performance.now() - began);
    // An empty body is never asked for.
    const md5 = isSent || bytes === 0 ? (known ?? hash?.digest('hex')) : undefined;
    return { kind: 'answer', status: answer.status, headers: answer.headers, text, whole, md5 };
  } catch (error) {
    if (outgoing.damage) throw outgoing.damage;
    return { kind: 'no-link', words: messageOf(error), moved: outgoing.moved };
  }
}
