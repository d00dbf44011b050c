// A multipart upload whose id S3 gave, while S3 cannot be reached: its parts wait as entries of their own and its end behind
// them, so they reach S3 in their order. The app is told what S3 will say.

import { createHash } from 'node:crypto';
import type { Outcome, Surroundings } from '../arrival.ts';
import { RECEIPTS } from '../receipts/receipt.ts';
import { mayPass, storeRequest } from '../storing.ts';
import { element, NAMESPACE, newRequestId, sendXml } from './answer.ts';
import { filingOf, partKey, type S3Arrival, storable, waits } from './filing.ts';
import { spoken } from './operation.ts';
import { type Payload, wholeBody } from './payload.ts';
import { completedChecksum } from './upload-checksum.ts';
import { commitWrite } from './writes.ts';
import { type PartNamed, partsIn } from './xml.ts';

/** 10,000 parts with their checksums are less. */
const LIST_BYTES = 4 * 1024 * 1024;

/** A part, or the end without a whole, of an upload that S3 knows: it must not overtake the parts that wait, nor be overtaken. */
export async function storePart(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { payload, ...filing } = await filingOf(around, storable(arrival));
  return storeRequest(around, arrival, {
    ...filing,
    head: { ...filing.head, orderKey: partKey(filing.head.orderKey, arrival) },
    online: filing.online && !waits(around, arrival),
    // S3 wants the checksum of a part where the upload was created with one, and takes none behind a body that is not framed.
    headLast: payload.checksumBehind,
    receipt: RECEIPTS.s3,
  });
}

export async function completeGiven(around: Surroundings, arrival: S3Arrival): Promise<Outcome> {
  const { payload, ...filing } = await filingOf(around, storable(arrival));
  const body = await wholeBody(payload, LIST_BYTES);
  const parts = partsIn(body);
  const checksum = await completedChecksum(arrival.request.headers, parts);
  const result = completed(arrival, etagOfParts(parts), checksum);
  return storeRequest(around, arrival, {
    ...filing,
    head: { ...filing.head, orderKey: partKey(filing.head.orderKey, arrival) },
    expected: body.length,
    read: async (onChunk) => void (await onChunk(body)),
    online: mayPass(around, { ...arrival, expected: body.length }) && !waits(around, arrival),
    committing: (commit) => commitWrite(around, arrival, filing.head.id, commit),
    receipt: (response, entry) =>
      sendXml(response, 200, result, {
        'x-amz-request-id': newRequestId(),
        'Layby-Entry': entry.id,
      }),
  });
}

/** Rejects with S3Refused, or as the payload does. */
export const partListIn = async (payload: Payload): Promise<PartNamed[]> =>
  partsIn(await wholeBody(payload, LIST_BYTES));

/** As S3 computes it: the MD5 of the parts' MD5s. Of parts whose ETags are none (SSE-KMS) nobody but S3 knows it; then it is as
 *  distinct. */
export const etagOfParts = (parts: readonly PartNamed[]): string => {
  const plain = parts.every(({ etag }) => /^[0-9a-f]{32}$/.test(etag));
  const hash = createHash('md5');
  for (const { etag } of parts) hash.update(plain ? Buffer.from(etag, 'hex') : etag);
  return `"${hash.digest('hex')}-${parts.length}"`;
};

/** `checksum`: its elements. */
export const completed = ({ url, s3 }: S3Arrival, etag: string, checksum: string): string =>
  [
    `<CompleteMultipartUploadResult xmlns="${NAMESPACE}">`,
    element('Location', url.split('?', 1)[0]),
    element('Bucket', spoken(s3.bucket)),
    element('Key', spoken(s3.key)),
    element('ETag', etag),
    checksum,
    '</CompleteMultipartUploadResult>',
  ].join('');
