// Tags of an object, as a header and as a document, by S3's rules. What S3 would refuse is refused before the receipt.

import { refuse } from './answer.ts';
import { elements, malformed, root, textOf } from './xml.ts';

export interface Tag {
  key: string;
  value: string;
}

const MOST_TAGS = 10;
const LONGEST_KEY = 128;
const LONGEST_VALUE = 256;
/** In keys and values: letters, numbers and spaces of any script, and these. */
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

const longerThan = (text: string, characters: number): boolean => [...text].length > characters;

const checked = (tags: Tag[], duplicate: () => Error): Tag[] => {
  if (tags.length > MOST_TAGS)
    throw refuse(400, 'BadRequest', `Object tags cannot be greater than ${MOST_TAGS}`);
  for (const { key, value } of tags) {
    if (key === '' || longerThan(key, LONGEST_KEY) || !ALLOWED.test(key) || /^aws:/i.test(key))
      throw refuse(400, 'InvalidTag', 'The TagKey you have provided is invalid');
    if (longerThan(value, LONGEST_VALUE) || !ALLOWED.test(value))
      throw refuse(400, 'InvalidTag', 'The TagValue you have provided is invalid');
  }
  if (new Set(tags.map(({ key }) => key)).size < tags.length) throw duplicate();
  return tags;
};

const malformedHeader = () =>
  refuse(
    400,
    'InvalidArgument',
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
  );

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw malformedHeader();
  }
};

/** Of `x-amz-tagging`: `a=1&b=2`. Throws S3Refused. */
export const tagsInHeader = (header: string): Tag[] => {
  const tags = header
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=');
      return at < 0
        ? { key: decoded(pair), value: '' }
        : { key: decoded(pair.slice(0, at)), value: decoded(pair.slice(at + 1)) };
    });
  return checked(tags, malformedHeader);
};

/** The body of PutObjectTagging. Throws S3Refused. */
export const tagsInXml = (body: Buffer): Tag[] => {
  const document = root(body, 'Tagging');
  const [set, ...others] = elements(document, 'TagSet');
  if (!set || others.length > 0) throw malformed();
  const tags = elements(set, 'Tag').map((tag) => {
    const [key, value] = [textOf(tag, 'Key'), textOf(tag, 'Value')];
    if (key === undefined || value === undefined) throw malformed();
    return { key, value };
  });
  return checked(tags, () => refuse(400, 'InvalidTag', 'Cannot provide multiple Tags with the same key'));
};
