// What an app is told of an object that went in parts: as if S3 had answered its PUT. Pure.

import type { Result } from '../deliver.ts';

/** Of the answer to a completion what the answer to a PUT would have said too. */
const SAID_OF_OBJECT =
  /^x-amz-(version-id|expiration|server-side-encryption.*|request-charged|request-id|id-2)$/i;

/** `moved`: body bytes in this try. `etag`: without quotes, where it is known. `headers`: of the answer to the completion. */
export const delivered = (
  moved: number,
  etag: string | undefined,
  headers: readonly string[] = [],
): Result => ({
  ...{ kind: 'answered', outcome: 'delivered', status: 200, words: '', moved },
  answer: {
    status: 200,
    headers: [
      ...(etag === undefined ? [] : ['etag', `"${etag}"`]),
      ...headers.filter((_, at) => SAID_OF_OBJECT.test(headers[at - (at % 2)]!)),
      ...['content-length', '0'],
    ],
    body: Buffer.alloc(0),
  },
});
