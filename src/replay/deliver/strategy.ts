// Which strategy an entry gets. Pure.

import type { Destination } from '../../policy/policy.ts';
import type { Entry } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { partSizeFor } from './s3/plan.ts';

/** Below it a second request costs more than what a cut could cost, bytes. */
const WORTH_RESUMING = 1024 * 1024;

export type StrategyName = 'http' | 's3' | 's3-multipart' | 'tus';

/** Of S3's own SDKs, on a plain PUT: it says nothing. */
const SAYS_NOTHING = /^x-id=[A-Za-z]+$/;

/** A PUT of a whole object, and nothing else of S3: no part, no copy, no tags, no append. */
function isPutObject({ method, url, headers }: Entry): boolean {
  const at = url.indexOf('?');
  const query = at < 0 ? '' : url.slice(at + 1);
  return (
    method === 'PUT' &&
    query.split('&').every((pair) => pair === '' || SAYS_NOTHING.test(pair)) &&
    headerOf(headers, 'x-amz-copy-source') === undefined &&
    headerOf(headers, 'x-amz-write-offset-bytes') === undefined
  );
}

/** A POST that would make something of its whole body, and not one of an app that speaks tus itself. */
const isForTus = ({ method, bytes, headers, trailers }: Entry): boolean =>
  method === 'POST' &&
  bytes > WORTH_RESUMING &&
  trailers.length === 0 &&
  headerOf(headers, 'tus-resumable') === undefined;

/** `begun`: parts of it are at the destination. `rate`: what the way carries, bytes per second, where it is known. */
export function strategyFor(
  { upstream, replay }: Destination,
  entry: Entry,
  { begun, rate }: { begun: boolean; rate: number | undefined },
): StrategyName {
  if (upstream.sign?.aws.service !== 's3')
    return replay.resume === 'tus' && (begun || isForTus(entry)) ? 'tus' : 'http';
  if (!isPutObject(entry)) return 's3';
  if (begun) return 's3-multipart';
  const partSize = partSizeFor(entry.bytes, rate);
  return partSize !== undefined && entry.bytes > partSize ? 's3-multipart' : 's3';
}
