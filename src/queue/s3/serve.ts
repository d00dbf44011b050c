// S3's own door: what a client asks of S3, and who answers it. Without a link, and while entries wait: uploads and deletions are
// stored (storing.ts), reads are answered of what waits (objects.ts, listing.ts), and what only the destination knows is
// refused. With a link, what is not stored is passed on.

import { objectPath } from '../../egress/path.ts';
import { pathStyle } from '../../policy/bucket.ts';
import { LaybyError, messageOf } from '../../telemetry/error.ts';
import { ANSWER_HEADER, ASSUMED, PENDING } from '../../wire/names.ts';
import { type Arrival, headOf, type Outcome, type Surroundings } from '../arrival.ts';
import { ClientDisconnected } from '../client-signal.ts';
import { bearsCredentialsOf } from '../credentials.ts';
import { speaksS3 } from '../receipts/receipt.ts';
import { mayPass, storeRequest } from '../storing.ts';
import { element, NAMESPACE, newRequestId, type Refusal, S3Refused, sendS3Error, sendXml } from './answer.ts';
import { copyWaiting } from './copy.ts';
import { deleteObjects } from './delete-objects.ts';
import {
  filingOf,
  mayBeStored,
  passOn,
  reachable,
  type S3Arrival,
  storable,
  unavailable,
  waits,
} from './filing.ts';
import { completeGiven, storePart } from './given-upload.ts';
import { isHalfTruth } from './half-truth.ts';
import { list } from './listing.ts';
import { sendObject } from './objects.ts';
import { nameOf, s3Request } from './operation.ts';
import { overtakes } from './overtakes.ts';
import { abortUpload, completeUpload, createUpload, isOwn, listParts, uploadPart } from './own-upload.ts';
import { isFramed, type Payload, payloadOf, wholeBody } from './payload.ts';
import { lastOf } from './pending.ts';
import { hasDocument, validateDocument, validateWrite } from './validity.ts';
import { commitWrite, isDeletedAlready } from './writes.ts';

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
  if (isFramed(arrival.request) && !mayBeStored(arrival)) return onlyThere(around, arrival);
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
    case 'CreateBucket':
      return createBucket(around, arrival);
    case 'CopyObject':
      return copy(around, arrival);
    default:
      return onlyThere(around, arrival);
  }
}

async function store(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  if (await isDeletedAlready(around, arrival)) {
    arrival.request.resume();
    arrival.response.writeHead(204, { 'x-amz-request-id': newRequestId(), [ANSWER_HEADER]: PENDING });
    arrival.response.end();
    return 'read';
  }
  validate(arrival);
  const { payload, ...filing } = await filingOf(around, storable(arrival));
  const whole = hasDocument(arrival.s3, filing.head.method) ? await documentOf(arrival, payload) : undefined;
  return storeRequest(around, arrival, {
    ...filing,
    ...(whole && {
      expected: whole.length,
      read: async (onChunk) => void (whole.length > 0 && (await onChunk(whole))),
    }),
    committing: (commit) => commitWrite(around, arrival, filing.head.id, commit),
  });
}

const validate = ({ request, s3, destination }: S3Arrival): void =>
  validateWrite(request.headers, s3, new URL(destination.upstream.url).hostname);

/** 100 grants of an ACL are less. */
const DOCUMENT_BYTES = 1024 * 1024;

const documentOf = async ({ s3 }: S3Arrival, payload: Payload): Promise<Buffer> => {
  const body = await wholeBody(payload, DOCUMENT_BYTES);
  validateDocument(s3, body);
  return body;
};

/** S3 gives the id where it can be asked. */
async function create(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  validate(arrival);
  const ask = mayPass(around, arrival) && !waits(around, arrival);
  if (ask && (await passOn(around, arrival))) return 'cut_through';
  return createUpload(around, arrival);
}

async function read(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { s3, destination, response } = arrival;
  const last = await lastOf(around.former, destination, arrival.url);
  if (!last) return readUnknown(around, arrival);
  // Of what another has sent nothing is said, not even that it is there.
  if (!bearsCredentialsOf(last.entry, arrival.request.rawHeaders, arrival.path))
    return onlyThere(around, arrival);
  const { effect } = last;
  if (effect === 'put') {
    if (!(await sendObject(around.store, arrival, s3.query, last))) return onlyThere(around, arrival);
    arrival.request.resume();
  } else if (effect === 'delete') {
    sendS3Error(response, NO_SUCH_KEY, nameOf(s3), { [ANSWER_HEADER]: PENDING });
  } else {
    throw unavailable('Layby holds the end of an upload whose parts are at S3: only S3 knows the object.');
  }
  return 'read';
}

const NO_SUCH_KEY: Refusal = {
  status: 404,
  code: 'NoSuchKey',
  message: 'The specified key does not exist.',
};

/** An object of which nothing waits. */
async function readUnknown(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { destination, request, response, s3 } = arrival;
  if (reachable(around, arrival) && (await passOn(around, arrival))) return 'cut_through';
  request.resume();
  if (destination.store.unknown !== 'absent') throw onlyKnownThere(arrival);
  sendS3Error(response, NO_SUCH_KEY, nameOf(s3), { [ANSWER_HEADER]: ASSUMED });
  return 'read';
}

async function bucket(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { s3, destination, response } = arrival;
  if (reachable(around, arrival) && (await passOn(around, arrival))) return 'cut_through';
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

/** Programs that make sure of their bucket before they upload take this error for a success. Nothing that waits makes or removes a bucket, so
 *  where S3 can be asked it is. */
async function createBucket(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { destination, request, response, s3 } = arrival;
  if (destination.store.unknown !== 'absent') return onlyThere(around, arrival);
  if (reachable(around, arrival) && (await passOn(around, arrival))) return 'cut_through';
  request.resume();
  const message = 'Your previous request to create the named bucket succeeded and you already own it.';
  const exists = { status: 409, code: 'BucketAlreadyOwnedByYou', message };
  sendS3Error(response, exists, nameOf(s3), { [ANSWER_HEADER]: ASSUMED });
  return 'read';
}

/** S3 copies where it can be asked and what waits does not concern the two objects. */
async function copy(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const free = reachable(around, arrival) && !(await overtakes(around, arrival));
  if (free && (await passOn(around, arrival, await unframed(arrival)))) return 'cut_through';
  const copied = await copyWaiting(around, arrival);
  if (copied) return copied;
  arrival.request.resume();
  throw onlyKnownThere(arrival);
}

/** A body that is framed is signed anew, as one payload. */
async function unframed(arrival: S3Arrival) {
  if (!isFramed(arrival.request)) return undefined;
  const head = headOf(arrival);
  const { expected, headers, read } = await payloadOf(arrival, {
    kept: head.headers,
    length: arrival.expected,
  });
  return { head: { ...head, headers }, expected, read };
}

/** What only the destination can answer. A read may pass what waits, unless its answer would be another one then; a change may not. */
async function onlyThere(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { request } = arrival;
  const reads = request.method === 'GET' || request.method === 'HEAD';
  const may = !isOwn(arrival) && reachable(around, arrival);
  const free =
    may &&
    (reads
      ? !(waits(around, arrival) && (await isHalfTruth(around, arrival)))
      : !(await overtakes(around, arrival)));
  if (free && (await passOn(around, arrival, await unframed(arrival)))) return 'cut_through';
  request.resume();
  throw onlyKnownThere(arrival);
}

const onlyKnownThere = ({ destination, s3 }: S3Arrival): S3Refused =>
  unavailable(
    `Layby has no link to ${destination.name}, or older requests wait, and ${/^(Other|ReadObject)$/.test(s3.operation) ? 'this request' : s3.operation} is not one that it can answer or store. Please try again.`,
  );
