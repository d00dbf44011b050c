// What is kept of an answer for an operator, where it makes a dead letter.

import type { KeptAnswer } from '../../store/store.ts';

/** Bytes of its headers. */
const HEADERS_KEPT = 8192;

/** `text`: the beginning of its body. Whole headers, as many as are kept. */
export function keptAnswer(status: number, headers: readonly string[], text: string): KeptAnswer {
  let bytes = 0;
  const end = headers.findIndex((one) => {
    bytes += one.length;
    return bytes > HEADERS_KEPT;
  });
  const kept = headers.slice(0, end < 0 ? headers.length : end - (end % 2));
  return { status, headers: kept, body: Buffer.from(text) };
}
