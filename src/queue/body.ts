// The body of a request, piece by piece, with back-pressure and without waiting where none is needed.

import type { IncomingMessage } from 'node:http';

/** The app went away in the middle of its body: nobody is owed anything. */
export class BodyTorn extends Error {}

/** Takes a piece; a promise where the next one must wait. */
export type Take = (piece: Buffer) => Promise<unknown> | undefined;
/** Hands a whole body to `take`. Rejects with BodyTorn, or with what `take` rejected with. */
export type ReadBody = (take: Take) => Promise<void>;

/** Calls `take` for each piece, one at a time and in order; for none where the body was read before. Rejects with BodyTorn, or
 *  with what `take` rejected with. */
export async function readBody(request: IncomingMessage, take: Take): Promise<void> {
  if (request.readableEnded) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let pending: Promise<void> | undefined;
  let ended = false;
  const torn = () => reject(new BodyTorn('the app went away'));
  const finish = () => {
    if (!ended || pending) return;
    if (request.complete) resolve();
    else torn();
  };
  const onData = (piece: Buffer) => {
    const taken = take(piece);
    if (!taken) return;
    request.pause();
    pending = taken.then(() => {
      pending = undefined;
      request.resume();
      finish();
    }, reject);
  };
  const onEnd = () => {
    ended = true;
    finish();
  };
  const onClose = () => {
    if (!request.complete) torn();
  };
  request.on('data', onData).on('end', onEnd).on('error', torn).on('close', onClose);
  try {
    await promise;
  } finally {
    // What is left of a body that was refused may be for somebody else to read.
    request.off('data', onData).off('end', onEnd).off('close', onClose);
  }
}
