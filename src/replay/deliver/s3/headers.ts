// Which of the headers of a PUT go on which request of the multipart upload that takes its place. Pure.

import { headerOf } from '../../../wire/headers.ts';

type Raw = readonly string[];

/** About the one body of the PUT, so wrong on every other request. */
const OF_THE_BODY =
  /^(content-length|content-md5|transfer-encoding|expect|x-amz-checksum-.*|x-amz-sdk-checksum-algorithm|x-amz-trailer|x-amz-content-sha256|x-amz-decoded-content-length)$/i;
/** Decided when the object comes to be. */
const CONDITION = /^(if-match|if-none-match)$/i;
/** S3 keeps no customer's key: it is told it each time. */
const CUSTOMER_KEY = /^x-amz-server-side-encryption-customer-/i;
const ALWAYS = /^(x-amz-expected-bucket-owner|x-amz-request-payer)$/i;
const METADATA = /^x-amz-meta-/i;

/** Ours, so that an object can be recognised whose completion was not answered. */
export const ENTRY_METADATA = 'x-amz-meta-layby-entry';
/** S3 takes 2 KB of metadata, names and values. Where the app's leave no room, ours is left out. */
const METADATA_BYTES = 2048;

const only = (headers: Raw, wanted: (name: string) => boolean): string[] =>
  headers.filter((_, at) => wanted(headers[at - (at % 2)]!));

/** On CreateMultipartUpload: all that is of the object, metadata, tags, storage class, ACL, encryption, and what we do not know. */
export function createHeaders(headers: Raw, id: string): string[] {
  const kept = only(headers, (name) => !OF_THE_BODY.test(name) && !CONDITION.test(name));
  const metadata = only(headers, (name) => METADATA.test(name)).join('').length + ENTRY_METADATA.length;
  return metadata + id.length > METADATA_BYTES ? kept : [...kept, ENTRY_METADATA, id];
}

/** On UploadPart, ListParts and HEAD. */
export const partHeaders = (headers: Raw): string[] =>
  only(headers, (name) => CUSTOMER_KEY.test(name) || ALWAYS.test(name));

/** On AbortMultipartUpload. */
export const abortHeaders = (headers: Raw): string[] => only(headers, (name) => ALWAYS.test(name));

/** On CompleteMultipartUpload. */
export const completeHeaders = (headers: Raw): string[] =>
  only(headers, (name) => CUSTOMER_KEY.test(name) || ALWAYS.test(name) || CONDITION.test(name));

export const isConditional = (headers: Raw): boolean =>
  headerOf(headers, 'if-none-match') !== undefined || headerOf(headers, 'if-match') !== undefined;
