// The parts of an upload that the queue keeps: what a list of them must be to make an object, as S3 asks it, and how they are listed.

import type { IncomingHttpHeaders } from 'node:http';
import type { Entry, Store } from '../../store/store.ts';
import { headerOf } from '../../wire/headers.ts';
import { element, NAMESPACE, ownerAs, refuse } from './answer.ts';
import { CHECKSUM, Checksums } from './checksums.ts';
import type { S3Arrival } from './filing.ts';
import { queryOf, type S3Request, spoken } from './operation.ts';
import { uploadChecksumOf } from './upload-checksum.ts';
import type { PartNamed } from './xml.ts';

/** Of all parts but the last, bytes. */
const SMALLEST_PART = 5 * 1024 * 1024;
const MOST_PARTS = 10_000;

/** Throws S3Refused. */
export const partNumberOf = (text: string | undefined): number => {
  const number = /^\d{1,5}$/.test(text ?? '') ? Number(text) : 0;
  if (number >= 1 && number <= MOST_PARTS) return number;
  throw refuse(400, 'InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive');
};

/** One that the queue has begun itself. */
export interface Upload {
  id: string;
  group: string;
  /** What Create said. */
  created: Entry;
}

/** What is kept of a part in memory: there may be 10,000. */
interface Part {
  number: number;
  id: string;
  md5: string;
  bytes: number;
  receivedAt: number;
  /** `x-amz-checksum-…` and its value, where the app gave one. */
  checksum: [name: string, value: string] | undefined;
}

const partOf = (entry: Entry): Part | undefined => {
  const number = Number(queryOf(entry.url).get('partNumber'));
  if (entry.method !== 'PUT' || !Number.isInteger(number)) return undefined;
  const { id, md5 = '', bytes, receivedAt } = entry;
  const at = entry.headers.findIndex((name, i) => i % 2 === 0 && CHECKSUM.test(name.toLowerCase()));
  const checksum: Part['checksum'] =
    at < 0 ? undefined : [entry.headers[at]!.toLowerCase(), entry.headers[at + 1]!];
  return { number, id, md5, bytes, receivedAt, checksum };
};

/** By number, of each the newest. */
const partsOf = async (store: Store, { created, group }: Upload): Promise<Map<number, Part>> => {
  const parts = new Map<number, Part>();
  for await (const entry of store.staged(created.destination, group)) {
    const part = partOf(entry);
    if (part && !parts.has(part.number)) parts.set(part.number, part);
  }
  return parts;
};

/** `x-amz-checksum-crc32c` as the lists of parts have it: `ChecksumCRC32C`. */
const inXml = (name: string): string => `Checksum${name.slice('x-amz-checksum-'.length).toUpperCase()}`;

const invalidPart = () =>
  refuse(
    400,
    'InvalidPart',
    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
  );

/** The entries that make the object, and its headers. Rejects with S3Refused where the list is not one that S3 would take. */
export const assembled = async (
  store: Store,
  upload: Upload,
  { request, signal }: S3Arrival,
  named: readonly PartNamed[],
): Promise<{ ids: string[]; headers: string[] }> => {
  const there = await partsOf(store, upload);
  const parts = named.map(({ number, etag, checksums }) => {
    const part = there.get(number);
    if (part?.md5 !== etag.toLowerCase()) throw invalidPart();
    const said = part.checksum && checksums.get(inXml(part.checksum[0]));
    if (said !== undefined && said !== part.checksum![1]) throw invalidPart();
    return part;
  });
  for (const { bytes } of parts.slice(0, -1))
    if (bytes < SMALLEST_PART)
      throw refuse(
        400,
        'EntityTooSmall',
        'Your proposed upload is smaller than the minimum allowed object size.',
      );
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const size = request.headers['x-amz-mp-object-size'];
  if (size !== undefined && size !== String(bytes))
    throw refuse(
      400,
      'InvalidRequest',
      "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
    );
  const ofWhole = fullChecksum(request.headers);
  if (ofWhole) await verifyWhole(store, parts, ofWhole, signal);
  return { ids: parts.map(({ id }) => id), headers: headersOf(upload.created, request.headers, ofWhole) };
};

/** A checksum over the whole object; one over the parts' checksums ends in `-N` and says nothing of a body sent as one. */
const fullChecksum = (headers: IncomingHttpHeaders): [name: string, value: string] | undefined => {
  for (const [name, value] of Object.entries(headers))
    if (CHECKSUM.test(name) && typeof value === 'string' && !value.includes('-')) return [name, value];
  return undefined;
};

const verifyWhole = async (
  store: Store,
  parts: Part[],
  [name, value]: [string, string],
  signal: AbortSignal,
): Promise<void> => {
  const sums = await Checksums.of({ [name]: value });
  for (const { id } of parts) {
    const entry = await store.get(id);
    if (!entry) throw invalidPart();
    for await (const piece of store.read(entry)) {
      signal.throwIfAborted();
      sums.update(piece);
    }
  }
  sums.verify();
};

/** Of Create, what belongs to the object; of Complete, its conditions. A PUT knows no checksums of parts. */
const OF_PARTS =
  /^(x-amz-checksum-(algorithm|type)|x-amz-sdk-checksum-algorithm|content-length|content-md5)$/;
const CONDITIONS = ['if-match', 'if-none-match'];

const headersOf = (
  created: Entry,
  completing: IncomingHttpHeaders,
  ofWhole: [name: string, value: string] | undefined,
): string[] => {
  const headers: string[] = [];
  for (let i = 0; i < created.headers.length; i += 2)
    if (!OF_PARTS.test(created.headers[i]!.toLowerCase()))
      headers.push(created.headers[i]!, created.headers[i + 1]!);
  for (const name of CONDITIONS) {
    const value = completing[name];
    if (typeof value === 'string' && headerOf(headers, name) === undefined) headers.push(name, value);
  }
  if (ofWhole) headers.push(...ofWhole);
  return headers;
};

const numberOf = (text: string | undefined, otherwise: number): number =>
  text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : otherwise;

/** The XML of ListParts. */
export const listed = async (
  store: Store,
  upload: Upload,
  { bucket, key, query }: S3Request,
): Promise<string> => {
  const most = Math.min(1000, numberOf(query.get('max-parts'), 1000));
  const marker = numberOf(query.get('part-number-marker'), 0);
  const after = [...(await partsOf(store, upload)).values()]
    .filter(({ number }) => number > marker)
    .sort((a, b) => a.number - b.number);
  const page = after.slice(0, most);
  const sum = uploadChecksumOf((name) => headerOf(upload.created.headers, name));
  return [
    `<ListPartsResult xmlns="${NAMESPACE}">`,
    element('Bucket', spoken(bucket)),
    element('Key', spoken(key)),
    element('UploadId', upload.group),
    ownerAs('Initiator'),
    ownerAs('Owner'),
    element('StorageClass', headerOf(upload.created.headers, 'x-amz-storage-class') ?? 'STANDARD'),
    element('PartNumberMarker', marker),
    element('NextPartNumberMarker', page.at(-1)?.number ?? 0),
    element('MaxParts', most),
    element('IsTruncated', after.length > page.length),
    sum ? element('ChecksumAlgorithm', sum.algorithm) + element('ChecksumType', sum.type) : '',
    ...page.map(({ number, md5, bytes, receivedAt, checksum }) =>
      [
        '<Part>',
        element('PartNumber', number),
        element('LastModified', new Date(receivedAt).toISOString()),
        element('ETag', `"${md5}"`),
        element('Size', bytes),
        checksum ? element(inXml(checksum[0]), checksum[1]) : '',
        '</Part>',
      ].join(''),
    ),
    '</ListPartsResult>',
  ].join('');
};
