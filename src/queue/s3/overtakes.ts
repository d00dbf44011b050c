// Whether a change that only S3 can make (a copy, for the most part) would overtake what waits: an entry of the object that it changes, or
// of the object that it copies. Entries of other objects are none of its business, also one that S3 refuses for ever.

import { objectPath } from '../../egress/path.ts';
import { upstreamBucket } from '../../policy/bucket.ts';
import { upstreamPath } from '../../policy/upstream.ts';
import type { Surroundings } from '../arrival.ts';
import { type S3Arrival, waits } from './filing.ts';

/** Operations whose objects are known: the one in the URL, and the one in x-amz-copy-source. */
const OF_OBJECTS: ReadonlySet<string> = new Set(['CopyObject', 'UploadPartCopy']);

export async function overtakes(around: Surroundings, arrival: S3Arrival): Promise<boolean> {
  if (!waits(around, arrival)) return false;
  const { destination, s3, url } = arrival;
  if (destination.store.order === 'strict' || !OF_OBJECTS.has(s3.operation)) return true;
  const source = sourceOf(arrival);
  if (source === undefined) return true;
  try {
    const asked = [url, source].map((one) => around.former.occupied(destination.name, one));
    return (await Promise.all(asked)).includes(true);
  } catch {
    // What cannot be asked may well wait.
    return true;
  }
}

/** The copied object, as an app would call it by the host of this request; undefined: nobody here knows how it is called. */
export function sourceOf({ request, destination, url }: S3Arrival): string | undefined {
  const named = request.headers['x-amz-copy-source'];
  // The bucket of a source is in its path; only where the bucket of all that is called is there too the two can be compared.
  if (typeof named !== 'string' || upstreamBucket(destination) || upstreamPath(destination)) return undefined;
  // An ARN names an access point, and not the bucket.
  if (/^\/?arn:/i.test(named)) return undefined;
  const path = objectPath(`/${named.replace(/^\//, '').split('?', 1)[0]}`);
  return url.slice(0, url.indexOf('/', 'http://'.length)) + path;
}
