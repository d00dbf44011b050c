// One try of one entry: the body out of the store, through the egress listener, and what came of it.

import type { Answer, Egress } from '../egress/egress.ts';
import type { Destination } from '../policy/policy.ts';
import type { Entry, KeptAnswer, Store } from '../store/store.ts';
import { messageOf } from '../telemetry/error.ts';
import { headerOf } from '../wire/headers.ts';
import { type Outcome, outcomeOf, retryAfterMs } from './outcome.ts';
import { paced, type TokenBucket } from './token-bucket.ts';

/** How much of an answer is kept for an operator, bytes: of its body, and of its headers. */
const ANSWER_KEPT = 4096;
const HEADERS_KEPT = 8192;
/** Of them in words, characters. */
const WORDS = 500;

export type Result =
  /** The destination answered. */
  | {
      kind: 'answered';
      outcome: Outcome;
      status: number;
      words: string;
      retryAfter: number | undefined;
      answer: KeptAnswer;
    }
  /** It was not reached, or was lost on the way. `moved`: body bytes that were taken before that. */
  | { kind: 'no-link'; words: string; moved: number };

/** Rejects only with what the store says of a damaged entry (LAYBY_ENTRY_DAMAGED). */
export async function sendEntry(
  store: Store,
  egress: Egress,
  destination: Destination,
  entry: Entry,
  bucket: TokenBucket | undefined,
  signal: AbortSignal,
): Promise<Result> {
  let moved = 0;
  let damage: unknown;
  let begun = false;
  const begin = (): void => {
    if (!begun) store.sent(entry);
    begun = true;
  };
  async function* body(): AsyncGenerator<Buffer> {
    try {
      for await (const piece of store.read(entry)) {
        begin();
        yield piece;
        moved += piece.length;
      }
    } catch (error) {
      damage = error;
      throw error;
    }
  }
  try {
    if (entry.bytes === 0) begin();
    const answer = await egress.send(
      destination,
      entry,
      {
        bytes: entry.bytes,
        pieces: bucket ? paced(body(), bucket, signal) : body(),
        trailers: () => entry.trailers,
      },
      { signal },
    );
    if (answer.noLink === undefined) return await resultOf(answer);
    await beginningOf(answer.body);
    return { kind: 'no-link', words: `no link (${answer.noLink})`, moved };
  } catch (error) {
    if (damage) throw damage;
    return { kind: 'no-link', words: messageOf(error), moved };
  }
}

/** What the destination's answer means; it is read to its end. */
export async function resultOf(answer: Answer): Promise<Result> {
  const kept = await beginningOf(answer.body);
  return {
    kind: 'answered',
    outcome: outcomeOf(answer.status),
    status: answer.status,
    words: kept.toString('utf8').trim().slice(0, WORDS),
    retryAfter: retryAfterMs(headerOf(answer.headers, 'retry-after'), Date.now()),
    answer: { status: answer.status, headers: firstOf(answer.headers), body: kept },
  };
}

/** Reads the whole answer, keeps the beginning. An answer that breaks off was still an answer. */
async function beginningOf(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const kept: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of body) {
      if (bytes < ANSWER_KEPT) kept.push(piece.subarray(0, ANSWER_KEPT - bytes));
      bytes += piece.length;
    }
  } catch {}
  return Buffer.concat(kept);
}

/** Whole headers, as many as are kept. */
function firstOf(headers: readonly string[]): string[] {
  let bytes = 0;
  const end = headers.findIndex((text) => {
    bytes += text.length;
    return bytes > HEADERS_KEPT;
  });
  return headers.slice(0, end < 0 ? headers.length : end - (end % 2));
}
