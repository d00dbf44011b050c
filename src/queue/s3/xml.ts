// The documents that S3 clients send, here those that say what to delete and which parts make an object. Whatever is not one of them is
// MalformedXML, as S3 says it.

import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { element, refuse } from './answer.ts';

export const malformed = () =>
  refuse(
    400,
    'MalformedXML',
    'The XML you provided was not well-formed or did not validate against our published schema',
  );

/** undefined: it is no such document. */
export const rootNamed = (text: string, name: string): XmlElement | undefined => {
  try {
    const found = parseXml(text).root;
    return found?.name === name ? found : undefined;
  } catch {
    return undefined;
  }
};

/** Throws S3Refused. */
export const root = (body: Buffer, name: string): XmlElement => {
  const found = rootNamed(body.toString('utf8'), name);
  if (!found) throw malformed();
  return found;
};

export const elements = (parent: XmlElement, name: string): XmlElement[] =>
  elementsOf(parent).filter((child) => child.name === name);

/** All of them, whatever they are called. */
export const elementsOf = (parent: XmlElement): XmlElement[] =>
  parent.children.filter((child): child is XmlElement => child instanceof XmlElement);

/** As it was read, without attributes. */
export const serialized = (of: XmlElement): string => {
  const inner = elementsOf(of);
  return inner.length > 0
    ? `<${of.name}>${inner.map(serialized).join('')}</${of.name}>`
    : element(of.name, of.text);
};

export const textOf = (parent: XmlElement, name: string): string | undefined =>
  elements(parent, name)[0]?.text;

export interface Deletion {
  /** As the client names it, not encoded. */
  key: string;
  versionId: string | undefined;
}

/** The body of DeleteObjects: 1 to 1000 objects. Throws S3Refused. */
export const deletionsIn = (body: Buffer): { quiet: boolean; deletions: Deletion[] } => {
  const document = root(body, 'Delete');
  const deletions = elements(document, 'Object').map((object) => {
    const key = textOf(object, 'Key');
    if (!key) throw malformed();
    return { key, versionId: textOf(object, 'VersionId') };
  });
  if (deletions.length === 0 || deletions.length > 1000) throw malformed();
  return { quiet: textOf(document, 'Quiet')?.trim() === 'true', deletions };
};

export interface PartNamed {
  number: number;
  /** Without quotes. */
  etag: string;
  /** `ChecksumCRC32` and so on, by that name, where the client gave one. */
  checksums: Map<string, string>;
}

/** The body of CompleteMultipartUpload: 1 to 10,000 parts in ascending order. Throws S3Refused. */
export const partsIn = (body: Buffer): PartNamed[] => {
  const parts = elements(root(body, 'CompleteMultipartUpload'), 'Part').map((part) => {
    const number = Number(textOf(part, 'PartNumber')?.trim());
    const etag = textOf(part, 'ETag')?.trim().replace(/^"|"$/g, '');
    if (!Number.isInteger(number) || number < 1 || number > 10_000 || !etag) throw malformed();
    const checksums = new Map<string, string>();
    for (const child of part.children)
      if (child instanceof XmlElement && child.name.startsWith('Checksum'))
        checksums.set(child.name, child.text.trim());
    return { number, etag, checksums };
  });
  if (parts.length === 0) throw malformed();
  for (let i = 1; i < parts.length; i++)
    if (parts[i]!.number <= parts[i - 1]!.number)
      throw refuse(
        400,
        'InvalidPartOrder',
        'The list of parts was not in ascending order. Parts must be ordered by part number.',
      );
  return parts;
};
