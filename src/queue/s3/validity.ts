// What S3 certainly refuses is refused before the receipt: afterwards it would be a dead letter, of which the app hears nothing. Only what
// every server refuses that looks at it at all is judged here; the rest (storage classes, limits of metadata, regions) differs and is S3's
// to judge.

import type { IncomingHttpHeaders } from 'node:http';
import { refuse } from './answer.ts';
import { type S3Request, spoken } from './operation.ts';
import { tagsInHeader, tagsInXml } from './tags.ts';
import { elements, malformed, root, textOf } from './xml.ts';

/** UTF-8. */
const LONGEST_KEY_BYTES = 1024;
/** Of user metadata, names and values, at AWS; others take more. */
const AWS_METADATA_BYTES = 2 * 1024;
const META = 'x-amz-meta-';

const CANNED_ACLS: ReadonlySet<string> = new Set([
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'aws-exec-read',
  'bucket-owner-read',
  'bucket-owner-full-control',
  'log-delivery-write',
  'project-private',
]);

const DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})$/;
const MODE = /^(GOVERNANCE|COMPLIANCE)$/;
const HOLD = /^(ON|OFF)$/;

const invalid = (message: string) => refuse(400, 'InvalidArgument', message);

const isDate = (text: string): boolean => DATE.test(text) && !Number.isNaN(Date.parse(text));

/** Throws S3Refused where a header of an object that is to be written is none that S3 takes. `host`: of the upstream. */
export const validateWrite = (headers: IncomingHttpHeaders, { key }: S3Request, host: string): void => {
  // Of an empty one servers make different things: it is theirs to judge.
  const said = (name: string): string | undefined => {
    const value = headers[name];
    return (Array.isArray(value) ? value.join(', ') : value) || undefined;
  };
  if (Buffer.byteLength(spoken(key)) > LONGEST_KEY_BYTES)
    throw refuse(400, 'KeyTooLongError', 'Your key is too long');
  const acl = said('x-amz-acl');
  if (acl !== undefined && !CANNED_ACLS.has(acl)) throw invalid(`${acl} is not a canned ACL`);
  const storageClass = said('x-amz-storage-class');
  if (storageClass !== undefined && !/^[\w.-]{1,128}$/.test(storageClass))
    throw refuse(400, 'InvalidStorageClass', 'The storage class you specified is not valid');
  const tagging = said('x-amz-tagging');
  if (tagging !== undefined) tagsInHeader(tagging);
  validateLock({
    mode: said('x-amz-object-lock-mode'),
    until: said('x-amz-object-lock-retain-until-date'),
    hold: said('x-amz-object-lock-legal-hold'),
  });
  if (/(^|\.)amazonaws\.com(\.cn)?$/.test(host) && metadataBytes(headers) > AWS_METADATA_BYTES)
    throw refuse(400, 'MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size');
};

const metadataBytes = (headers: IncomingHttpHeaders): number =>
  Object.entries(headers).reduce(
    (sum, [name, value]) =>
      name.startsWith(META) ? sum + name.length - META.length + Buffer.byteLength(String(value)) : sum,
    0,
  );

const validateLock = ({ mode, until, hold }: Record<'mode' | 'until' | 'hold', string | undefined>): void => {
  if ((mode === undefined) !== (until === undefined))
    throw invalid('x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied');
  if (mode !== undefined && !MODE.test(mode)) throw invalid('Unknown wormMode directive');
  if (until !== undefined && !isDate(until))
    throw invalid('The retain until date must be provided in ISO 8601 format');
  if (hold !== undefined && !HOLD.test(hold)) throw invalid("Legal Hold must be either of 'ON' or 'OFF'");
};

/** Whether a change of an object has a document that is judged here. */
export const hasDocument = ({ operation, query }: S3Request, method: string): boolean =>
  operation === 'ChangeObject' &&
  method === 'PUT' &&
  ['tagging', 'retention', 'legal-hold', 'acl'].some((name) => query.has(name));

/** The body of PutObjectTagging, -Retention, -LegalHold and -Acl. Throws S3Refused. */
export const validateDocument = ({ query }: S3Request, body: Buffer): void => {
  if (query.has('tagging')) tagsInXml(body);
  else if (query.has('retention')) {
    const document = root(body, 'Retention');
    const [mode, until] = [textOf(document, 'Mode'), textOf(document, 'RetainUntilDate')];
    // An empty one takes the retention away.
    if ((mode === undefined) !== (until === undefined)) throw malformed();
    if (mode !== undefined && (!MODE.test(mode.trim()) || !isDate(until!.trim()))) throw malformed();
  } else if (query.has('legal-hold')) {
    const [status] = elements(root(body, 'LegalHold'), 'Status');
    if (!status || !HOLD.test(status.text.trim())) throw malformed();
    // The ACL may be in headers.
  } else if (body.length > 0) root(body, 'AccessControlPolicy');
};
