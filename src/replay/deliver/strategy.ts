// Which strategy an entry gets. Pure.

import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import type { Body } from './body.ts';
import { partSizeFor } from './s3/plan.ts';

/** Below it a second request costs more than what a cut could cost, bytes. */
const WORTH_RESUMING = 1024 * 1024;

export type StrategyName = 'http' | 's3' | 's3-multipart' | 'tus' | 'ietf';

/** Of S3's own SDKs, on a plain PUT: it says nothing. */
const SAYS_NOTHING = /^x-id=[A-Za-z]+$/;

/** A PUT of a whole object, and nothing else of S3: no part, no copy, no tags, no append. */
export function isPutObject({
  method,
  url,
  headers,
}: Pick<EntryHead, 'method' | 'url' | 'headers'>): boolean {
  const at = url.indexOf('?');
  const query = at < 0 ? '' : url.slice(at + 1);
  return (
    method === 'PUT' &&
    query.split('&').every((pair) => pair === '' || SAYS_NOTHING.test(pair)) &&
    headerOf(headers, 'x-amz-copy-source') === undefined &&
    headerOf(headers, 'x-amz-write-offset-bytes') === undefined
  );
}

/** What may become an upload of each protocol, and what an app says that speaks it itself. tus makes something new of a POST; the IETF's
 *  draft carries any request that has a body. */
const UPLOADS = {
  tus: { methods: ['POST'], own: ['tus-resumable'] },
  ietf: { methods: ['POST', 'PUT', 'PATCH'], own: ['upload-complete', 'upload-draft-interop-version'] },
} as const;

const isMethodOf = (protocol: keyof typeof UPLOADS, method: string): boolean =>
  UPLOADS[protocol].methods.some((one) => one === method);

const isUpload = (
  { method, headers }: EntryHead,
  { bytes, trailers }: Whole,
  protocol: keyof typeof UPLOADS,
): boolean =>
  bytes > WORTH_RESUMING &&
  trailers.length === 0 &&
  isMethodOf(protocol, method) &&
  UPLOADS[protocol].own.every((name) => headerOf(headers, name) === undefined);

/** What is known of a body when the strategy is chosen. */
type Whole = Pick<Body, 'bytes' | 'trailers'>;

/** How much of a body that grows must be there before its strategy can be chosen, bytes; or all of it where it is less. To S3 nothing
 *  goes whose length is not known but an object in parts, and as a resumable upload nothing at all. */
export function decidedAt(
  { upstream, replay }: Destination,
  entry: EntryHead,
  { begun, rate }: Known,
): number {
  if (upstream.sign?.aws.service === 's3')
    return begun ? 0 : isPutObject(entry) ? (partSizeFor(0, rate) ?? 0) + 1 : Number.POSITIVE_INFINITY;
  const { resume } = replay;
  const whole = upstream.sign !== undefined || (resume !== 'none' && isMethodOf(resume, entry.method));
  return whole ? Number.POSITIVE_INFINITY : 0;
}

interface Known {
  /** Parts of it are at the destination. */
  begun: boolean;
  /** What the way carries, bytes per second, where it is known. */
  rate: number | undefined;
}

export function strategyFor(
  { upstream, replay }: Destination,
  entry: EntryHead,
  body: Whole,
  { begun, rate }: Known,
): StrategyName {
  const { resume } = replay;
  if (upstream.sign?.aws.service !== 's3')
    return resume !== 'none' && (begun || isUpload(entry, body, resume)) ? resume : 'http';
  if (!isPutObject(entry)) return 's3';
  if (begun) return 's3-multipart';
  const partSize = partSizeFor(body.bytes, rate);
  return partSize !== undefined && body.bytes > partSize ? 's3-multipart' : 's3';
}
