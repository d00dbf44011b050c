// What waits in the store of an object of S3, and what the object will be when all of it has arrived.

import type { Destination } from '../../policy/policy.ts';
import type { Entry } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import type { Surroundings } from '../arrival.ts';
import { type S3Request, s3Request } from './operation.ts';

/** What an entry does to its object. */
export type Effect =
  /** The object is the entry's body. */
  | 'put'
  | 'delete'
  /** What it then is, only the destination knows. */
  | 'unknown'
  | 'none';

export interface Waiting {
  entry: Entry;
  request: S3Request;
  effect: Effect;
}

const EFFECTS: Partial<Record<S3Request['operation'], Effect>> = {
  PutObject: 'put',
  DeleteObject: 'delete',
  CopyObject: 'unknown',
  CompleteMultipartUpload: 'unknown',
};

export const waitingOf = (destination: Destination, entry: Entry): Waiting | undefined => {
  if (entry.state !== 'stored' && entry.state !== 'sending') return undefined;
  const path = entry.url.slice(entry.url.indexOf('/', 'http://'.length));
  const copies = headerOf(entry.headers, 'x-amz-copy-source') !== undefined;
  const request = s3Request(destination, entry.method, path, copies);
  return { entry, request, effect: EFFECTS[request.operation] ?? 'none' };
};

/** All that waits for the destination, in the order of delivery. */
export async function* allWaiting(
  former: Surroundings['former'],
  destination: Destination,
): AsyncGenerator<Waiting> {
  for await (const entry of former.entriesOf(destination.name)) {
    const waiting = waitingOf(destination, entry);
    if (waiting) yield waiting;
  }
}

export interface LastWaiting extends Waiting {
  /** What changes its tags afterwards: PutObjectTagging or DeleteObjectTagging. */
  tagging: Entry | undefined;
}

/** The last entry that decides what the object at this URL is; undefined where none waits. */
export const lastOf = async (
  former: Surroundings['former'],
  destination: Destination,
  url: string,
): Promise<LastWaiting | undefined> => {
  let tagging: Entry | undefined;
  for await (const entry of former.waitingFor(destination.name, url)) {
    const waiting = waitingOf(destination, entry);
    if (!waiting) continue;
    if (waiting.effect !== 'none') return { ...waiting, tagging };
    const { query } = waiting.request;
    if (query.has('tagging') && !query.has('versionId')) tagging ??= entry;
  }
  return undefined;
};
