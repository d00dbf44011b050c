// What a signature asks of the request that gets it (`upstream.sign`).

import type { Destination } from './policy.ts';

/** Services that take a signature which says nothing of the body. All others answer 403 to it. */
const UNSIGNED_PAYLOAD: ReadonlySet<string> = new Set([
  ...['s3', 's3-object-lambda', 's3-outposts'],
  'vpc-lattice-svcs',
]);

/** Envoy signs for a host without the port that is the usual one, whatever the scheme, and takes what is between the first two colons for
 *  it. `host`: with its port, where that is not the scheme's. */
export const isSignable = (host: string): boolean => {
  const [, second] = host.split(':').filter((part) => part !== '');
  return second !== '80' && second !== '443';
};

export const signsBodyOf = (service: string): boolean => !UNSIGNED_PAYLOAD.has(service);

/** The signature is also over the body, which is read whole before anything of it leaves. */
export const signsBody = ({ upstream: { sign } }: Pick<Destination, 'upstream'>): boolean =>
  sign !== undefined && signsBodyOf(sign.aws.service);

/** The longest such body, bytes: it is memory of the sidecar's. No common service takes more in one request (DynamoDB 16 MB, API Gateway
 *  and Kinesis 10 MB). */
export const SIGNED_BODY_BYTES = 16 * 1024 * 1024;

/** undefined: there is no such bound. */
export const longestBody = (destination: Pick<Destination, 'upstream'>): number | undefined =>
  signsBody(destination) ? SIGNED_BODY_BYTES : undefined;

/** In the words of an answer. */
export const TOO_LONG_TO_SIGN = {
  status: 413,
  type: 'too-long-to-sign',
  title: 'The body is too long for a signature over it',
} as const;

export const tooLongToSign = ({ name, upstream: { sign } }: Pick<Destination, 'name' | 'upstream'>): string =>
  `For the service ${sign?.aws.service} (spec.upstream.sign.aws.service of ${name}) the whole body is signed, and so it has ${SIGNED_BODY_BYTES} bytes at most. Send it in smaller requests.`;
