// What LevelDB's errors mean for a store: locked by another process, damaged, or an environment that may recover (a full
// disk, too many open files). Only damage may set a database aside: a full disk must never look like one.

import { LaybyError, messageOf } from '../../telemetry/error.ts';

/** Found before LevelDB saw them. */
export class FilesDamaged extends Error {
  override name = 'FilesDamaged';
}

const causeOf = (thrown: unknown): unknown => (thrown instanceof Error ? (thrown.cause ?? thrown) : thrown);

const codeOf = (thrown: unknown): string | undefined => {
  const cause = causeOf(thrown);
  return cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
};

export const isLocked = (thrown: unknown): boolean => codeOf(thrown) === 'LEVEL_LOCKED';

/** Missing or damaged files: opening again will not help. */
export const isDamaged = (thrown: unknown): boolean =>
  thrown instanceof FilesDamaged ||
  codeOf(thrown) === 'LEVEL_CORRUPTION' ||
  /does not exist \(create_if_missing|No such file|Invalid argument|Input\/output error/i.test(
    messageOf(causeOf(thrown)),
  );

export const reasonOf = (thrown: unknown): string => messageOf(causeOf(thrown));

/** LAYBY_STORE_FULL where the disk's end was met in spite of the reserve, LAYBY_STORE_FAILED otherwise. */
export const storeFailed = (what: string, cause: unknown): LaybyError => {
  if (cause instanceof LaybyError) return cause;
  const reason = reasonOf(cause);
  const code = /no space left|quota exceeded/i.test(reason) ? 'LAYBY_STORE_FULL' : 'LAYBY_STORE_FAILED';
  return new LaybyError(code, `${what}: ${reason}`, {
    remedy: 'Send it again; see that the disk has room and is healthy',
    cause,
  });
};

export const storeClosed = (): LaybyError =>
  new LaybyError('LAYBY_STORE_CLOSED', 'The store is closed', { remedy: 'Open it again' });
