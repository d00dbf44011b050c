// What is written down of a multipart upload, before it is needed: with it an upload goes on after a cut or a kill -9, and one that is
// given up can be taken back.

import type { RequestSender } from '../../../egress/egress.ts';
import type { Destination } from '../../../policy/policy.ts';
import type { EntryHead } from '../../../store/store.ts';
import type { Place } from '../place.ts';
import { S3Calls } from './calls.ts';
import { negativeDoubt, positiveDoubt } from './plausible.ts';

/** The place is the entry's destination, or the one that S3 named for the bucket's region. */
export interface Begun extends Place {
  kind: 's3-multipart';
  /** What the app called. */
  url: string;
  uploadId: string;
  /** bytes */
  partSize: number;
  /** S3 keeps a CRC32C of the whole object; else parts go with their MD5. */
  crc32c: boolean;
  /** For AbortMultipartUpload; names and values in turn. */
  headers: string[];
  /** How often it has begun anew since S3 refused to complete what it had taken. */
  restarts: number;
  /** S3 answered its completion with 409. */
  conflicted?: boolean;
  /** By number: the ETag, and our own sum over the part (CRC32C, or MD5 in hex). */
  parts: Record<number, [etag: string, sum: number | string]>;
}

export const isBegun = (progress: unknown): progress is Begun =>
  typeof progress === 'object' && progress !== null && (progress as Begun).kind === 's3-multipart';

/** `gone`: nothing of it is left at S3, or S3 does not let us take it back. Rejects with WayLost. */
export async function abortUpload(
  egress: RequestSender,
  destination: Destination,
  id: string,
  { url, uploadId, headers }: Begun,
  signal: AbortSignal,
): Promise<{ gone: boolean; status: number }> {
  const object: EntryHead = {
    ...{ id, url, destination: destination.name, method: 'PUT' },
    ...{ headers: [], orderKey: '', class: 0, receivedAt: 0 },
  };
  const calls = new S3Calls(egress, destination, object, { signal });
  const call = { method: 'DELETE', query: { uploadId }, headers };
  const answer = await calls.call(call);
  const { status, error } = answer;
  // A portal's answer takes nothing back: the parts would stay at S3, and be paid for.
  const doubt =
    status < 300 ? positiveDoubt({ ...call, url }, answer) : negativeDoubt(answer, error !== undefined);
  return { gone: doubt === undefined && status < 500 && status !== 429 && status !== 408, status };
}
