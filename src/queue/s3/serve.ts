// S3's own door: what a client asks of S3, and who answers it. Without a link, and while entries wait: uploads and deletions are
// stored (storing.ts), reads are answered of what waits (objects.ts, listing.ts), and what only the destination knows is
// refused. With a link, what is not stored is passed on.

import { objectPath } from '../../egress/path.ts';
import { pathStyle } from '../../policy/bucket.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { ANSWER_HEADER, PENDING } from '../../wire/names.ts';
import type { Arrival, Outcome, Surroundings } from '../arrival.ts';
import { ClientDisconnected } from '../client-signal.ts';
import { proxyRequest } from '../proxy-request.ts';
import { speaksS3 } from '../receipts/receipt.ts';
import { mayPass, storeRequest } from '../storing.ts';
import { element, NAMESPACE, newRequestId, type Refusal, S3Refused, sendS3Error, sendXml } from './answer.ts';
import { deleteObjects } from './delete-objects.ts';
import { filingOf, reachable, type S3Arrival, storable, unavailable, waits } from './filing.ts';
import { completeGiven, storePart } from './given-upload.ts';
import { listing } from './listing.ts';
import { sendObject } from './objects.ts';
import { nameOf, s3Request } from './operation.ts';
import { abortUpload, completeUpload, createUpload, isOwn, listParts, uploadPart } from './own-upload.ts';
import { lastOf } from './pending.ts';
import { commitWrite } from './writes.ts';

/** The destination is S3, or its policy speaks S3 to those who do. */
export const isS3 = ({ destination, request }: Arrival): boolean =>
  destination.upstream.sign?.aws.service === 's3' ||
  (/^(s3|auto)$/.test(destination.store.receipt) && speaksS3(request, destination));

/** Rejects with ClientDisconnected alone, and where an answer has begun. */
export async function serveS3(around: Surroundings, arrival: Arrival): Promise<Outcome> {
  const { request, response, destination } = arrival;
  const method = request.method ?? '';
  const called = pathStyle(destination, arrival.url);
  const path = called.slice(called.indexOf('/', 'http://'.length));
  const s3 = s3Request(destination, method, path, 'x-amz-copy-source' in request.headers);
  // One spelling for each object, as it will be sent: so what waits for it is found, and keeps its order.
  const url = destination.upstream.sign
    ? called.slice(0, called.length - path.length) + objectPath(path)
    : called;
  try {
    const judged = path === arrival.path ? {} : { judgedPath: arrival.path.split('?', 1)[0]! };
    return await serve(around, { ...arrival, ...judged, path, url, s3 });
  } catch (error) {
    if (error instanceof ClientDisconnected || response.headersSent) throw error;
    // What is left of the body is not wanted: the connection goes with it.
    response.shouldKeepAlive = request.complete;
    const refusal = refusalOf(error);
    if (!refusal) around.log.error({ err: error, method }, 'a request to S3 could not be answered');
    sendS3Error(response, refusal ?? unavailable(messageOf(error)), nameOf(s3));
    return refusal ? 'refused' : 'failed';
  }
}

const refusalOf = (error: unknown): Refusal | undefined => {
  if (error instanceof S3Refused) return error;
  if (error instanceof LaybyError && error.code === 'LAYBY_STORE_FULL')
    return { status: 507, code: 'InsufficientStorage', message: messageOf(error) };
  return undefined;
};

async function serve(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  switch (arrival.s3.operation) {
    case 'PutObject':
    case 'DeleteObject':
    case 'ChangeObject':
      return store(around, arrival);
    case 'CreateMultipartUpload':
      return create(around, arrival);
    case 'UploadPart':
      return isOwn(arrival) ? uploadPart(around, arrival) : storePart(around, arrival);
    case 'AbortMultipartUpload':
      return isOwn(arrival) ? abortUpload(around, arrival) : storePart(around, arrival);
    case 'CompleteMultipartUpload':
      return isOwn(arrival) ? completeUpload(around, arrival) : completeGiven(around, arrival);
    case 'ListParts':
      return isOwn(arrival) ? listParts(around, arrival) : onlyThere(around, arrival);
    case 'DeleteObjects':
      return deleteObjects(around, storable(arrival, 'DELETE'));
    case 'GetObject':
    case 'HeadObject':
      return read(around, arrival);
    case 'ListObjects':
    case 'ListObjectsV2':
      return list(around, arrival);
    case 'HeadBucket':
    case 'GetBucketLocation':
      return bucket(around, arrival);
    default:
      return onlyThere(around, arrival);
  }
}

async function store(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { payload: _, ...filing } = await filingOf(around, storable(arrival));
  return storeRequest(around, arrival, {
    ...filing,
    committing: (commit) => commitWrite(around, arrival, filing.head.id, commit),
  });
}

/** S3 gives the id where it can be asked. */
async function create(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const ask = mayPass(around, arrival) && !waits(around, arrival);
  if (ask && (await proxyRequest(around.egress, arrival)) === 'answered') return 'cut_through';
  return createUpload(around, arrival);
}

async function read(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { s3, destination, response } = arrival;
  const last = await lastOf(around.former, destination, arrival.url);
  if (!last) return onlyThere(around, arrival);
  const { effect, entry } = last;
  if (effect === 'put') {
    if (!(await sendObject(around.store, arrival, s3.query, entry))) return onlyThere(around, arrival);
    arrival.request.resume();
  } else if (effect === 'delete') {
    const gone = { status: 404, code: 'NoSuchKey', message: 'The specified key does not exist.' };
    sendS3Error(response, gone, nameOf(s3), { [ANSWER_HEADER]: PENDING });
  } else {
    throw unavailable('Layby holds the end of an upload whose parts are at S3: only S3 knows the object.');
  }
  return 'read';
}

async function list(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { s3, destination, response, signal } = arrival;
  if (reachable(around, arrival) && !waits(around, arrival)) return onlyThere(around, arrival);
  arrival.request.resume();
  const xml = await listing(around.store, destination, s3, signal);
  sendXml(response, 200, xml, { 'x-amz-request-id': newRequestId(), [ANSWER_HEADER]: PENDING });
  return 'read';
}

async function bucket(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { s3, destination, response } = arrival;
  if (reachable(around, arrival) && (await proxyRequest(around.egress, arrival)) === 'answered')
    return 'cut_through';
  arrival.request.resume();
  const region = destination.upstream.sign?.aws.region ?? 'us-east-1';
  const headers = { 'x-amz-request-id': newRequestId(), [ANSWER_HEADER]: PENDING };
  if (s3.operation === 'HeadBucket') {
    // After a 307 boto3 asks for the region, and sends all again where it is told one: then the entry would be stored twice.
    const told = destination.store.receipt === 'redirect' ? {} : { 'x-amz-bucket-region': region };
    response.writeHead(200, { ...headers, ...told, 'Content-Length': 0 });
    response.end();
  } else {
    const named = region === 'us-east-1' ? '' : region;
    const xml = element('LocationConstraint', named).replace('>', ` xmlns="${NAMESPACE}">`);
    sendXml(response, 200, xml, headers);
  }
  return 'read';
}

/** What only the destination can answer. A read may pass what waits; a change may not. */
async function onlyThere(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { request, destination, s3 } = arrival;
  const reads = request.method === 'GET' || request.method === 'HEAD';
  const free = !isOwn(arrival) && reachable(around, arrival) && (reads || !waits(around, arrival));
  if (free && (await proxyRequest(around.egress, arrival)) === 'answered') return 'cut_through';
  request.resume();
  throw unavailable(
    `Layby has no link to ${destination.name}, or older requests wait, and ${s3.operation === 'Other' ? 'this request' : s3.operation} is not one that it can answer or store. Please try again.`,
  );
}
