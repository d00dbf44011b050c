// A body on its way to who asked for it, with back-pressure. What stands before it, and where it is from, is for others.

import type { ServerResponse } from 'node:http';

/** Resolves when there is room again, or nobody takes it any more. */
export const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const go = () => {
      response.off('drain', go);
      response.off('close', go);
      resolve();
    };
    response.on('drain', go);
    response.on('close', go);
  });

/** Sends `first`, what follows it in `pieces`, and the end; `first` is undefined where there is no body. The head has been sent. Never
 *  rejects: a body that breaks off must not be taken for the whole, so the connection breaks off too. */
export async function sendPieces(
  response: ServerResponse,
  pieces: AsyncIterator<Buffer>,
  first: IteratorResult<Buffer> | undefined,
): Promise<void> {
  try {
    for (let next = first; next && !next.done; next = await pieces.next()) {
      if (response.destroyed) break;
      if (!response.write(next.value)) await drained(response);
    }
    response.end();
  } catch {
    response.destroy();
  } finally {
    await pieces.return?.();
  }
}
