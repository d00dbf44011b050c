// The body of an answer, as far as it is wanted.

import type { Readable } from 'node:stream';

/** How much of an answer's body is kept for an operator, bytes. */
export const ANSWER_KEPT = 4096;

/** Reads the whole answer and keeps the beginning, `kept` bytes. `whole`: it did not break off. */
export async function textOf(body: Readable, kept = ANSWER_KEPT): Promise<{ text: string; whole: boolean }> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  let whole = true;
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      if (bytes < kept) pieces.push(piece.subarray(0, kept - bytes));
      bytes += piece.length;
    }
  } catch {
    whole = false;
  }
  return { text: Buffer.concat(pieces).toString('utf8').trim(), whole };
}
