// How S3's requests are stored, and when they may pass: what its rooms share.

import { type Arrival, headOf, type Surroundings } from '../arrival.ts';
import type { Filing } from '../filing.ts';
import { type ProxiedBody, proxyRequest } from '../proxy-request.ts';
import { RECEIPTS, receiptFor } from '../receipts/receipt.ts';
import { mayPass } from '../storing.ts';
import { refuse, type S3Refused } from './answer.ts';
import { nameOf, type S3Request } from './operation.ts';
import { isFramed, type Payload, payloadOf } from './payload.ts';

export interface S3Arrival extends Arrival {
  s3: S3Request;
}

/** The policy lets it be stored. */
export const mayBeStored = (
  { request, destination: { store } }: Arrival,
  method = request.method ?? '',
): boolean => store.mode !== 'never' && store.methods.includes(method);

/** Throws S3Refused where the policy does not let it be stored. */
export const storable = (arrival: S3Arrival, method = arrival.request.method ?? ''): S3Arrival => {
  const { name } = arrival.destination;
  if (mayBeStored(arrival, method)) return arrival;
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

/** Another request than the app's own can be sent in its place: the sidecar signs it, or nobody has to. */
export const maySign = ({ destination, request, s3 }: S3Arrival): boolean =>
  destination.upstream.sign !== undefined ||
  (request.headers.authorization === undefined &&
    !s3.query.has('X-Amz-Signature') &&
    !s3.query.has('Signature'));

/** What belongs to one upload keeps its order, also where the policy asks for none. */
export const partKey = (orderKey: string, { s3 }: S3Arrival): string => orderKey || nameOf(s3);

export const waits = ({ backlog }: Surroundings, { destination: { name } }: Arrival): boolean =>
  backlog.isPending(name);

/** The way to the destination may be there, whatever waits. */
export const reachable = (
  { backlog, linkUp }: Surroundings,
  { destination: { name }, failedOver }: Arrival,
): boolean => !failedOver && linkUp(name) && !backlog.isFailing(name);

/** false: the destination was not reached, and the client has nothing yet. */
export const passOn = async (
  { egress }: Surroundings,
  arrival: Arrival,
  body?: ProxiedBody,
): Promise<boolean> => (await proxyRequest(egress, arrival, body)) === 'answered';
