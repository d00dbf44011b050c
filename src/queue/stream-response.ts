// A body out of the store on its way to the client that asked for it.

import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';

/** Chunks of which the first has been read. To be given to streamResponse. */
export type BegunChunks = AsyncIterableIterator<Buffer>;

/** Resolves when the first chunk has been read, so that an error comes while another response can still be given. Rejects as
 *  `chunks` does. */
export async function withFirstChunk(chunks: AsyncIterable<Buffer>): Promise<BegunChunks> {
  const iterator = chunks[Symbol.asyncIterator]();
  let first: IteratorResult<Buffer> | undefined = await iterator.next();
  return {
    async next() {
      const next = first ?? (await iterator.next());
      first = undefined;
      return next;
    },
    async return() {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator](): BegunChunks {
      return this as BegunChunks;
    },
  };
}

/** Sends the body and the end of a response whose head has been sent. Never rejects: a body that breaks off must not be taken for the
 *  whole, so the connection breaks off too. */
export async function streamResponse(
  response: ServerResponse,
  chunks: BegunChunks,
  signal: AbortSignal,
): Promise<void> {
  await pipeline(chunks, response, { signal }).catch(() => response.destroy());
  // A pipeline whose signal was aborted before has not begun to read.
  await chunks.return?.();
}
