// How S3's requests are stored, and when they may pass: what its rooms share.

import { type Arrival, headOf, type Surroundings } from '../arrival.ts';
import type { Filing } from '../filing.ts';
import { RECEIPTS, receiptFor } from '../receipts/receipt.ts';
import { mayPass } from '../storing.ts';
import { refuse, type S3Refused } from './answer.ts';
import { nameOf, type S3Request } from './operation.ts';
import { isFramed, type Payload, payloadOf } from './payload.ts';

export interface S3Arrival extends Arrival {
  s3: S3Request;
}

/** Throws S3Refused where the policy does not let it be stored. */
export const storable = (arrival: S3Arrival, method = arrival.request.method ?? ''): S3Arrival => {
  const { name, store } = arrival.destination;
  if (store.mode !== 'never' && store.methods.includes(method)) return arrival;
  throw unavailable(`Layby has no link, and ${method} is not stored for ${name}.`);
};

export const unavailable = (message: string): S3Refused => refuse(503, 'ServiceUnavailable', message);

export const filingOf = async (
  around: Surroundings,
  arrival: S3Arrival,
): Promise<Filing & { payload: Payload }> => {
  const head = headOf(arrival);
  const payload = await payloadOf(arrival, {
    kept: head.headers,
    length: arrival.expected,
    ofAnother: arrival.s3.operation === 'CompleteMultipartUpload',
  });
  const { expected, headers, read } = payload;
  return {
    payload,
    head: { ...head, headers },
    expected,
    read,
    // Without a last piece to hold back, an empty object would be there before its body was found to be wrong, or torn.
    online: !(expected === 0 && isFramed(arrival.request)) && mayPass(around, { ...arrival, expected }),
    md5: true,
    receipt: RECEIPTS[receiptFor(arrival.destination, arrival.request)],
  };
};

/** What belongs to one upload keeps its order, also where the policy asks for none. */
export const partKey = (orderKey: string, { s3 }: S3Arrival): string => orderKey || nameOf(s3);

export const waits = ({ backlog }: Surroundings, { destination: { name } }: Arrival): boolean =>
  backlog.isPending(name);

/** The way to the destination may be there, whatever waits. */
export const reachable = (
  { backlog, linkUp }: Surroundings,
  { destination: { name }, failedOver }: Arrival,
): boolean => !failedOver && linkUp(name) && !backlog.isFailing(name);
