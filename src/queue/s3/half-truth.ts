// Whether the bucket's answer to a read would be wrong once what waits has arrived. Such an answer is not given: a program that trusts it
// may delete, or write again, what it does not find.

import type { Surroundings } from '../arrival.ts';
import type { S3Arrival } from './filing.ts';
import { spoken } from './operation.ts';
import { allWaiting, type Waiting, waitingOf } from './pending.ts';

/** Of what waits, what changes the versions of an object: all but its parts, tags and the like. */
const changesVersions = ({ effect, request, entry }: Waiting): boolean =>
  effect !== 'none' || (entry.method === 'DELETE' && request.query.has('versionId'));

const endsUpload = ({ request: { operation } }: Waiting): boolean =>
  operation === 'CompleteMultipartUpload' || operation === 'AbortMultipartUpload';

const isOfUpload = ({ request }: Waiting): boolean => request.query.has('uploadId');

/** Without a version it is the newest one that is asked for; `null` is whichever has no id. */
const concernsVersion = ({ request, effect }: Waiting, version: string | undefined): boolean => {
  const changed = request.query.get('versionId');
  if (version === undefined) return true;
  return changed === version || (version === 'null' && (effect !== 'none' || changed === undefined));
};

export async function isHalfTruth(around: Surroundings, arrival: S3Arrival): Promise<boolean> {
  const { query, operation } = arrival.s3;
  switch (operation) {
    case 'ListObjectVersions':
      return someInBucket(around, arrival, changesVersions);
    case 'ListMultipartUploads':
      return someInBucket(around, arrival, endsUpload);
    case 'ListParts':
      return someOfObject(
        around,
        arrival,
        (each) => each.request.query.get('uploadId') === query.get('uploadId'),
      );
    case 'ReadObject':
      return someOfObject(
        around,
        arrival,
        (each) =>
          concernsVersion(each, query.get('versionId')) && (!isOfUpload(each) || each.effect !== 'none'),
      );
    default:
      return false;
  }
}

const someOfObject = async (
  { former }: Surroundings,
  { destination, url, signal }: S3Arrival,
  concerns: (waiting: Waiting) => boolean,
): Promise<boolean> => {
  for await (const entry of former.waitingFor(destination.name, url)) {
    signal.throwIfAborted();
    const waiting = waitingOf(destination, entry);
    if (waiting && concerns(waiting)) return true;
  }
  return false;
};

const someInBucket = async (
  { former }: Surroundings,
  { destination, s3: { bucket, query }, signal }: S3Arrival,
  concerns: (waiting: Waiting) => boolean,
): Promise<boolean> => {
  const prefix = query.get('prefix') ?? '';
  for await (const waiting of allWaiting(former, destination)) {
    signal.throwIfAborted();
    const { request } = waiting;
    if (request.bucket === bucket && spoken(request.key).startsWith(prefix) && concerns(waiting)) return true;
  }
  return false;
};
