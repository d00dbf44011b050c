// The body of a request, piece by piece, with back-pressure and without waiting where none is needed.

import type { IncomingMessage } from 'node:http';

/** The app went away in the middle of its body: nobody is owed anything. */
export class BodyTorn extends Error {}

/** Calls `take` for each piece, one at a time and in order. Rejects with BodyTorn, or with what `take` rejected with. */
export async function readBody(
  request: IncomingMessage,
  take: (piece: Buffer) => Promise<void> | undefined,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let pending: Promise<void> | undefined;
    let ended = false;
    const finish = () => {
      if (!ended || pending) return;
      if (request.complete) resolve();
      else reject(new BodyTorn('the app went away'));
    };
    request.on('data', (piece: Buffer) => {
      const taken = take(piece);
      if (!taken) return;
      request.pause();
      pending = taken.then(
        () => {
          pending = undefined;
          request.resume();
          finish();
        },
        (error) => {
          request.pause();
          reject(error);
        },
      );
    });
    request.on('end', () => {
      ended = true;
      finish();
    });
    request.on('error', () => reject(new BodyTorn('the app went away')));
    request.on('close', () => {
      if (!request.complete) reject(new BodyTorn('the app went away'));
    });
  });
}
