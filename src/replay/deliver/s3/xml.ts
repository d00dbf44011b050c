// What S3 says in XML, and the one document that we send.

import { parseXml, XmlElement } from '@rgrove/parse-xml';

/** undefined: it is not XML, or not all of it. */
function root(text: string): XmlElement | undefined {
  try {
    return parseXml(text).root ?? undefined;
  } catch {
    return undefined;
  }
}

const children = (parent: XmlElement, name: string): XmlElement[] =>
  parent.children.filter((child): child is XmlElement => child instanceof XmlElement && child.name === name);

const textIn = (parent: XmlElement, name: string): string | undefined =>
  children(parent, name)[0]?.text.trim();

const unquoted = (etag: string): string => etag.replace(/^"|"$/g, '');

export interface S3Error {
  code: string;
  message: string;
  /** Of a redirect: the host that serves the bucket. */
  endpoint: string | undefined;
}

const errorOf = (element: XmlElement): S3Error => ({
  code: textIn(element, 'Code') ?? '',
  message: textIn(element, 'Message') ?? '',
  endpoint: textIn(element, 'Endpoint'),
});

export function errorIn(text: string): S3Error | undefined {
  const document = root(text);
  return document?.name === 'Error' ? errorOf(document) : undefined;
}

/** Of DeleteObjects: the keys that it refused. */
export function deleteErrorsIn(text: string): S3Error[] {
  const document = root(text);
  return document ? children(document, 'Error').map(errorOf) : [];
}

/** Of CreateMultipartUpload. The document's own name differs between servers. */
export function uploadIdIn(text: string): string | undefined {
  const document = root(text);
  return document && textIn(document, 'UploadId');
}

export interface ListedPart {
  number: number;
  /** Without quotes. */
  etag: string;
  bytes: number;
  /** Base64, where S3 keeps one. */
  crc32c: string | undefined;
}

/** Of ListParts; `next`: the marker of the next page. undefined: it is no such list. */
export function partsIn(text: string): { parts: ListedPart[]; next: string | undefined } | undefined {
  const document = root(text);
  if (document?.name !== 'ListPartsResult') return undefined;
  const parts = children(document, 'Part').map((part) => ({
    number: Number(textIn(part, 'PartNumber')),
    etag: unquoted(textIn(part, 'ETag') ?? ''),
    bytes: Number(textIn(part, 'Size')),
    crc32c: textIn(part, 'ChecksumCRC32C'),
  }));
  const more = textIn(document, 'IsTruncated') === 'true';
  return { parts, next: more ? textIn(document, 'NextPartNumberMarker') : undefined };
}

export interface Completed {
  /** Without quotes. */
  etag: string;
  crc32c: string | undefined;
}

export function completedIn(text: string): Completed | undefined {
  const document = root(text);
  if (document?.name !== 'CompleteMultipartUploadResult') return undefined;
  return { etag: unquoted(textIn(document, 'ETag') ?? ''), crc32c: textIn(document, 'ChecksumCRC32C') };
}

/** Of what a CompleteMultipartUpload asks for: the ETags of its parts, without quotes; none where it is no such document. */
export function etagsIn(text: string): string[] {
  const document = root(text);
  if (document?.name !== 'CompleteMultipartUpload') return [];
  return children(document, 'Part').map((part) => unquoted(textIn(part, 'ETag') ?? ''));
}

const escaped = (text: string): string => text.replace(/[<>&"]/g, (char) => `&#${char.codePointAt(0)};`);

/** The body of CompleteMultipartUpload; parts in their order, ETags without quotes. */
export const completeXml = (
  parts: readonly { number: number; etag: string; crc32c: string | undefined }[],
): string =>
  [
    '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    ...parts.map(
      ({ number, etag, crc32c }) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>"${escaped(etag)}"</ETag>${
          crc32c === undefined ? '' : `<ChecksumCRC32C>${crc32c}</ChecksumCRC32C>`
        }</Part>`,
    ),
    '</CompleteMultipartUpload>',
  ].join('');
