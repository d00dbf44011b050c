// A bucket that is in another region than the policy thinks. Pure: the answer comes in, and the destination that may be used instead
// comes out. Bytes go only where the policy says (law 4), so it must be one of the policy's own.

import type { Destination } from '../../../policy/policy.ts';
import { headerOf } from '../../../wire/headers.ts';
import type { S3Error } from './xml.ts';

export interface Redirect {
  /** Where S3 wants it; undefined where it does not say. */
  host: string | undefined;
  region: string | undefined;
}

const hostIn = (url: string | undefined): string | undefined =>
  url !== undefined && URL.canParse(url) ? new URL(url).host : undefined;

/** undefined: the answer is no redirect. */
export function redirectIn(
  status: number,
  headers: readonly string[],
  error: S3Error | undefined,
): Redirect | undefined {
  if (![301, 307, 308].includes(status)) return undefined;
  return {
    host: error?.endpoint?.toLowerCase() ?? hostIn(headerOf(headers, 'location')),
    region: headerOf(headers, 'x-amz-bucket-region'),
  };
}

/** The destination of the policy behind which that host and region are. The host may have the bucket before the name of the
 *  upstream: the path, which then begins with the bucket, stays as it is. */
export function targetOf(
  { host, region }: Redirect,
  from: Destination,
  destinations: readonly Destination[],
): Destination | undefined {
  if (host === undefined && region === undefined) return undefined;
  return destinations.find(({ name, upstream }) => {
    const aws = upstream.sign?.aws;
    if (name === from.name || aws?.service !== 's3') return false;
    if (region !== undefined && aws.region !== region) return false;
    const theirs = new URL(upstream.url).host;
    return host === undefined || host === theirs || host.endsWith(`.${theirs}`);
  });
}

/** For the dead letter. */
export const wordsOf = ({ host, region }: Redirect): string =>
  `the bucket is in region ${region ?? '(not said)'}, at ${host ?? '(not said)'}, and no other destination of the policy has that upstream: correct upstream.url and sign.aws.region, or add a destination for it`;
