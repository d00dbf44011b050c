// Where S3's own ways begin: a request of an S3 destination that is not a plain PUT or DELETE of an object comes here first,
// whatever its method. What this room does not answer goes on as any other request.

import type { Arrival, Outcome, Surroundings } from '../arrival.ts';
import { passOn } from '../pass-on.ts';
import { mayPass } from '../storing.ts';
import { framedBody, isMultipart, NO_LINK, sendS3Error } from './refusal.ts';

export const isS3 = ({ destination: { upstream } }: Arrival): boolean => upstream.sign?.aws.service === 's3';

/** One object, one body as it is: S3 asks nothing of it that any other PUT or DELETE would not. */
export const isPlain = (arrival: Arrival): boolean =>
  /^(PUT|DELETE)$/.test(arrival.request.method ?? '') &&
  !isMultipart(arrival.url) &&
  !framedBody(arrival.request);

/** undefined: nothing was done, the request goes the way of all others. */
export async function serveS3(around: Surroundings, arrival: Arrival): Promise<Outcome | undefined> {
  const { request, response, url } = arrival;
  const framed = framedBody(request);
  const parts = isMultipart(url);
  if (!framed && !parts) return undefined;
  if (parts && !framed && mayPass(around, arrival)) {
    if ((await passOn(around.egress, arrival)) === 'answered') return 'cut_through';
  }
  request.resume();
  sendS3Error(response, framed ?? NO_LINK);
  return 'refused';
}
