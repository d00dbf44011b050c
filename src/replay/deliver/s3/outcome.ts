// What an answer of S3 means for the entry: the table of src/replay/outcome.ts, and the codes that say more than their status.

import { type Outcome, outcomeOf } from '../../outcome.ts';
import type { S3Error } from './xml.ts';

/** 400 or 409 by status, and gone with the next try: the way was slow, or bytes were damaged on it, or two came at once. */
const AGAIN: ReadonlySet<string> = new Set([
  'BadDigest',
  'ConditionalRequestConflict',
  'IncompleteBody',
  'InternalError',
  'OperationAborted',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'XAmzContentChecksumMismatch',
]);
/** 400 by status, and gone when somebody mends the credentials. */
const CREDENTIALS: ReadonlySet<string> = new Set(['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired']);

/** The status that an error has which S3 says after it began with 200. */
const LATE: Readonly<Record<string, number>> = {
  ...{ NoSuchUpload: 404, PreconditionFailed: 412, ConditionalRequestConflict: 409 },
  ...{
    InvalidPart: 400,
    InvalidPartOrder: 400,
    EntityTooSmall: 400,
    InvalidRequest: 400,
    InvalidArgument: 400,
  },
  ...{ AccessDenied: 403, NoSuchBucket: 404, NoSuchKey: 404, NotImplemented: 501, MethodNotAllowed: 405 },
  ...{ ServiceUnavailable: 503, SlowDown: 503 },
};

/** S3 begins with 200 before it knows how a completion or a copy ends, and says an error in the body then. */
export const statusOf = (status: number, error: S3Error | undefined): number =>
  status === 200 && error ? (LATE[error.code] ?? 500) : status;

export function outcomeOfS3(status: number, error: S3Error | undefined): Outcome {
  if (error && AGAIN.has(error.code)) return 'retry';
  if (error && CREDENTIALS.has(error.code)) return 'unauthorized';
  return outcomeOf(statusOf(status, error));
}
